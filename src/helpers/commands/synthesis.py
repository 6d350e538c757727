"""`study synthesize`, `study filter`, `study label`, `study push`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from helpers.commands.terminal import Assignments, Profile, plain_errors, report_progress
from helpers.paths import show_name, shown
from helpers.synthesis.settings import RECORDED, FilterSettings, SynthesisSettings

WAIT_SECONDS = 60


def synthesize(
    profile: Profile = "laptop",
    parameter: Assignments = None,
    max_cost_usd: Annotated[
        float | None,
        typer.Option(help="Cap on all spending for this teacher, earlier runs included, in US dollars."),
    ] = None,
    batch: Annotated[
        bool,
        typer.Option("--batch", help="Ask through the provider's Batch API: half the price, within a day."),
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="With --batch: stay and look again every minute.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show the first prompt, the request and the estimate; send nothing."),
    ] = False,
) -> None:
    """Make the instruction data alone, with its estimate, its account and its dataset folder; run it again to
    go on.
    """
    from helpers.commands.grid import load_study
    from helpers.provider.batch import PendingError
    from helpers.synthesis.costs import explain_cost
    from helpers.synthesis.export import export_dataset

    given = [f"max_cost_usd={max_cost_usd}"] * (max_cost_usd is not None) + ["batch=true"] * batch
    with plain_errors():
        study = load_study(profile, [*(parameter or []), *given])
        if dry_run:
            typer.echo(show_first_request(study.synthesis_settings))
        typer.echo(
            explain_cost(study.synthesis_settings, study.provider_limits)
            or "Recorded replies: nothing is asked, nothing is paid."
        )
        if dry_run:
            return
        while True:
            try:
                with report_progress("synthesis"):
                    run = study.synthesis_run
                break
            except PendingError as pending:
                typer.echo(pending)
                if not wait:
                    return
                time.sleep(WAIT_SECONDS)
        facts = run.manifest["facts"]
        typer.echo(
            f"{facts['n_kept']} rows kept of {facts['n_tasks']} tasks in {facts['n_replies']} replies "
            f"({shown(run.path)})."
        )
        if failures := list_failures(facts):
            typer.echo(f"Replies that were not what was asked for: {failures}. They are in replies.jsonl.")
        if study.synthesis_settings.target_rows > facts["n_kept"]:
            typer.echo(
                f"`target_rows` ({study.synthesis_settings.target_rows}) was not reached: raise `n_requests` "
                "and run again; what was answered is kept."
            )
        typer.echo(f"Dataset: {shown(export_dataset(run).path)}")


def list_failures(facts: Mapping[str, int]) -> str:
    """Return how many replies of a run were not what was asked for, by the way in which."""
    counts = {name.split("_")[1]: n for name, n in facts.items() if name.endswith("_replies")}
    return ", ".join(f"{n} {name}" for name, n in counts.items() if n and name != "replies")


def show_first_request(settings: SynthesisSettings) -> str:
    """Return the first prompt and the body that would carry it to a live teacher."""
    from helpers.provider.request_fields import RequestFields
    from helpers.synthesis.pipeline import build_exchanges, plan_requests, read_seed_tasks
    from helpers.synthesis.teacher import build_teacher

    seeds = read_seed_tasks()
    _, _, prompt = next(plan_requests(settings, seeds))
    lines = ["Prompt of the first request:", "", prompt]
    if settings.teacher != RECORDED:
        teacher = build_teacher(settings)
        body = RequestFields(teacher).apply(next(next(build_exchanges(settings, seeds))))
        lines += [
            f"Its body, to the {teacher.label} (its key goes in a header):",
            "",
            json.dumps(body, indent=1),
            "",
        ]
    return "\n".join(lines)


def filter_rows(
    file: Annotated[
        Path, typer.Argument(help="JSON rows (a line each, or an array) with instruction, input, output.")
    ],
    novelty_threshold: Annotated[
        float, typer.Option(help="ROUGE-L F1 from which an instruction counts as known.")
    ] = FilterSettings.novelty_threshold,
    min_words: Annotated[
        int, typer.Option(help="Fewest words of an instruction.")
    ] = FilterSettings.min_words,
    max_words: Annotated[int, typer.Option(help="Most words of an instruction.")] = FilterSettings.max_words,
    against: Annotated[
        list[Path] | None,
        typer.Option(help="A benchmark file (JSONL) that no kept row may overlap; may be given again."),
    ] = None,
    counts: Annotated[
        Path | None, typer.Option(help="Write the counts and the file's sha256 here too, as CSV.")
    ] = None,
) -> None:
    """Filter any file of instructions as the synthesis filters its tasks, each rejected row
    with its reason.
    """
    import pandas as pd

    from helpers.files import sha256_file, write_text
    from helpers.synthesis import filter_files

    with plain_errors():
        if counts:
            filter_files.check_target(counts, [file, *(against or [])])
        run = filter_files.filter_file(
            file, FilterSettings(novelty_threshold, min_words, max_words), against or []
        )
        table = pd.read_csv(run.file(filter_files.COUNTS_FILE))
        typer.echo(table.to_string(index=False))
        typer.echo(
            f"{filter_files.KEPT_FILE}, {filter_files.REJECTED_FILE} and {filter_files.COUNTS_FILE} in "
            f"{shown(run.path)}"
        )
        if counts:
            name = show_name(file.name)
            write_text(counts, table.assign(file=name, sha256=sha256_file(file)).to_csv(index=False))


def label_instructions(
    file: Annotated[
        Path, typer.Argument(help="JSON rows (a line each, or an array) with instruction, input, output.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(help="Where to write the labelled rows; default: FILE with the ending .labelled.jsonl."),
    ] = None,
    compare: Annotated[
        str, typer.Option(help="Field with labels to compare with, instead of writing rows.")
    ] = "",
    agreement: Annotated[
        Path | None, typer.Option(help="With --compare: write the agreement here too, as CSV.")
    ] = None,
) -> None:
    """Give every row its category by the offline classifier, or say how far it agrees with labels that are
    there.
    """
    from helpers.files import write_text
    from helpers.synthesis import filter_files

    with plain_errors():
        if compare:
            if agreement:
                filter_files.check_target(agreement, [file])
            table = filter_files.compare_file(file, compare).round(4)
            typer.echo(table.T.to_string(header=False))
            if agreement:
                write_text(agreement, table.to_csv(index=False))
            return
        target = output or file.parent / f"{file.stem}.labelled.jsonl"
        n_rows, n_left_out = filter_files.label_file(file, target)
        typer.echo(f"{n_rows} rows labelled in {shown(target)}")
        if n_left_out:
            typer.echo(f"{n_left_out} rows left out: they have no instruction or no output.")


def push(
    folder: Annotated[Path, typer.Argument(help="The dataset folder that `study synthesize` prints.")],
    repository: Annotated[str, typer.Argument(help="OWNER/NAME on the Hugging Face hub.")],
    public: Annotated[
        bool, typer.Option("--public", help="Let everybody see it; private otherwise.")
    ] = False,
) -> None:
    """Upload a dataset to the Hugging Face hub; the token comes from HF_TOKEN."""
    from helpers.synthesis.export import push_dataset

    with plain_errors():
        typer.echo(f"uploaded: {push_dataset(folder, repository, public)}")
