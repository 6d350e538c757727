"""`study mix`: how much of each category to take, from small cells tuned on the user's own rows."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from helpers.commands.grid import load_study
from helpers.commands.terminal import Assignments, Profile, plain_errors, report_progress, write_tables
from helpers.errors import StudyError

if TYPE_CHECKING:
    import pandas as pd

    from helpers.analysis.mixing.recommendation import Recommendation
    from helpers.study.mixing import Cost
    from helpers.tuning.settings import TuningSettings


def recommend_mixture(
    instructions: Annotated[
        str,
        typer.Option(
            help="File of rows (JSON lines or an array) with category (any names), instruction, input and "
            "output; or public."
        ),
    ],
    rows: Annotated[int, typer.Option(min=2, help="Training rows to spend, in all.")],
    target: Annotated[
        str, typer.Option(help="Category whose loss is to be low, or 'mean' or 'worst' of all.")
    ] = "mean",
    cell_rows: Annotated[
        int,
        typer.Option(
            min=0, help="Rows of a small cell; 0: a tenth of `--rows`. Others have three times as many."
        ),
    ] = 0,
    n_seeds: Annotated[int, typer.Option(min=1, max=1000, help="Training seeds per cell.")] = 2,
    available_only: Annotated[
        bool, typer.Option("--available-only", help="Recommend only what the file has rows for.")
    ] = False,
    profile: Profile = "laptop",
    parameter: Assignments = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it costs, and stop.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            help="Folder for the tables as CSV; n_qa and so on are training rows of that category in a cell.",
        ),
    ] = None,
) -> None:
    """Tune small cells on mixtures of a file's categories, fit laws of the loss to them, and recommend a
    mixture with its uncertainty; what is stored is not run again, and what was killed goes on where it
    stopped.
    """
    from helpers.analysis.mixing.recommendation import check_goal, list_candidates
    from helpers.study.mixing import SMALL_CELL_DIVISOR, collect_mixture_losses, estimate_cost, plan_mixtures
    from helpers.synthesis.public_rows import PUBLIC

    with plain_errors():
        refuse_unused_parameters(parameter or [])
        named = instructions if instructions == PUBLIC else Path(instructions).resolve()
        study = load_study(profile, [*(parameter or []), f"instructions={named}"])
        mixtures = plan_mixtures(study, cell_rows or max(2, rows // SMALL_CELL_DIVISOR), n_seeds)
        check_goal(target, mixtures.study.grid_settings.lattice_categories)
        list_candidates(list(mixtures.available), rows, mixtures.available, available_only)
        settings = mixtures.study.tuning_settings
        typer.echo(describe_too_long(mixtures.too_long, settings.max_tokens), nl=False)
        with report_progress("cost"):
            cost = estimate_cost(mixtures)
        typer.echo(explain_cell_cost(cost, len(mixtures.cells)))
        if dry_run:
            return
        with report_progress("mixtures"):
            table = collect_mixture_losses(mixtures)
        tables, found = choose(table, rows, target, mixtures.available, available_only)
        if found.law != "null" and not describe_shortage(found.rows, mixtures.available):
            command = write_tune_command(settings, mixtures.study.training_file, found.rows)
            typer.echo(f"\nTo tune it, on the rows that are not held out:\n{command}")
        if output:
            write_tables(tables, output, n_decimals=5)


def refuse_unused_parameters(assignments: list[str]) -> None:
    """Raise StudyError for a parameter that says neither how a cell is tuned nor what is held out: the cells
    and the loss are those that the law needs.
    """
    from helpers.book.parameters import parse_assignments
    from helpers.tuning.settings import TuningSettings

    used = {field.name for field in dataclasses.fields(TuningSettings)} - {"categories", "n_rows"}
    used |= {"held_out_share", "n_held_out", "data"}
    if unused := next((name for name in parse_assignments(assignments) if name not in used), None):
        raise StudyError(
            f"`study mix` lays out its cells itself, so `{unused}` would not be heeded. Leave it out; the "
            "options are in `study mix --help`."
        )


def explain_cell_cost(cost: Cost, n_cells: int) -> str:
    """Return what the missing cells will cost, as a sentence."""
    from helpers.progress import show_seconds

    if not cost.n_cells:
        return f"All {n_cells} cells are stored."
    seconds = show_seconds(cost.tuning_seconds + cost.forward_seconds)
    return (
        f"{cost.n_cells} of {n_cells} cells are to be run: {cost.n_rows:,} rows to tune on, about {seconds} "
        f"({show_seconds(cost.tuning_seconds)} of tuning, {show_seconds(cost.forward_seconds)} of measuring "
        "held-out rows; loading the model comes on top)."
    )


def choose(
    table: pd.DataFrame, rows: int, target: str, available: dict[str, int], available_only: bool
) -> tuple[dict[str, pd.DataFrame], Recommendation]:
    """Cross-validate the laws, print what the best of them recommends, and return the tables by name, and the
    recommendation.
    """
    from helpers.analysis.mixing.cross_validation import average_errors, choose_law, cross_validate_laws
    from helpers.analysis.mixing.fit_intervals import fit_losses
    from helpers.analysis.mixing.losses import build_loss_arrays
    from helpers.analysis.mixing.recommendation import recommend, worth_table

    losses = build_loss_arrays(table)
    left_out = cross_validate_laws(losses)
    law_errors = average_errors(left_out)
    law = choose_law(law_errors)
    fits = fit_losses(losses, law)
    found = recommend(fits, losses.categories, rows, target, available, available_only)
    worths = worth_table(fits, losses.categories)
    errors = law_errors[(law_errors["kind"] == "mixture") & (law_errors["category"] == "all")]
    said = ", ".join(f"{row.law} {row.error:.2f}" for row in errors.itertuples())
    typer.echo(f"\nError on mixtures left out (% of the loss; null: the mean of each number of rows): {said}")
    typer.echo(describe_recommendation(found, rows))
    if law != "null":
        typer.echo(describe_shortage(found.rows, available), nl=False)
        typer.echo(describe_trust(losses.losses_by_seed.shape[2]))
    if len(worths):
        typer.echo("\nWhat a row of `source` is worth, in rows of `target` (with intervals):")
        typer.echo(worths[worths["source"] != worths["target"]].round(2).to_string(index=False))
    keys = [name for name in table if name.startswith("n_")] + ["seed", "category"]
    means = table.groupby(keys, as_index=False, dropna=False)["loss"].mean()
    tables = {"losses": means, "left_out": left_out, "worths": worths}
    return tables | {"comparisons": found.comparisons, "mixtures": found.mixtures}, found


def describe_too_long(too_long: Mapping[str, int], max_tokens: int) -> str:
    """Return in a line how many rows of each category are longer than a run takes; empty where none is."""
    if not too_long:
        return ""
    said = ", ".join(f"{n:,} {name}" for name, n in too_long.items())
    return (
        f"Rows longer than {max_tokens:,} tokens are left out, and nothing below counts them: {said}. A "
        "higher `-p max_tokens=` keeps more of them.\n"
    )


def write_tune_command(settings: TuningSettings, instructions: Path, rows: Mapping[str, int]) -> str:
    """Return the command that tunes a mixture with the settings of the cells."""
    from helpers.study.grid import write_mixture

    mixture = write_mixture(rows)
    own = {"instructions": instructions, "model": settings.model, "categories": mixture}
    own |= {"n_rows": sum(rows.values())}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if field.name not in own and value != field.default:
            own[field.name] = value
    options = (
        f"--{name.replace('_', '-')}" + ("" if value is True else f" {shlex.quote(str(value))}")
        for name, value in own.items()
    )
    return f".venv/bin/study tune {' '.join(options)}"


def describe_recommendation(found: Recommendation, rows: int) -> str:
    """Return a recommendation in sentences; the mixture stands as the grid's `mixtures` take it. The law
    `null` recommends nothing, since to it all mixtures are alike.
    """
    expected = f"{found.loss:.3f} nats per token (95 % interval {found.low:.3f} to {found.high:.3f})."
    if found.law == "null":
        lines = [
            "\nNo law predicted mixtures left out better than the mean of their number of rows: these "
            "cells do not say which rows help. Equal parts are as good a guess as any. More training seeds "
            "(`--n-seeds`) or larger cells (`--cell-rows`) may show a difference.",
            f"Expected loss of any mixture: {expected}",
        ]
    else:
        lines = [*list_comparisons(found, rows, expected)]
    if found.extrapolates:
        lines.append(f"No cell had {rows:,} rows: the law reaches beyond what it was fitted to.")
    return "\n".join(lines)


def list_comparisons(found: Recommendation, rows: int, expected: str) -> Iterator[str]:
    """Yield what is recommended, what loss is expected of it, and how it compares with other mixtures."""
    from helpers.study.grid import write_mixture

    what = {"mean": "the mean loss of all categories", "worst": "the worst category"}
    best = f"by the law {found.law!r}: {write_mixture(found.rows)}"
    yield f"\nFor {what.get(found.goal, found.goal)}, {rows:,} rows, {best}."
    yield f"Expected loss {expected}"
    if not found.beats:
        yield (
            "The data show no difference between the mixtures: this one is not better beyond doubt than any "
            "of those below. More training seeds or larger cells may show one."
        )
    for row in found.comparisons.itertuples():
        if row.gain == row.low == row.high == 0:  # the recommended mixture itself
            continue
        gain = f"{row.gain:+.3f} nats per token saved (95 % interval {row.low:+.3f} to {row.high:+.3f})"
        yield f"Against {row.mixture}: {gain}."
    shares = ", ".join(f"{name} {low:.0%} to {high:.0%}" for name, (low, high) in found.share_ranges.items())
    yield f"The best shares over the draws: {shares}."
    alike = found.mixtures["indistinguishable"].mean()
    yield f"{alike:.0%} of all mixtures may be as good, for all that the data say."


def describe_shortage(wanted: Mapping[str, int], available: Mapping[str, int]) -> str:
    """Return in a line of which categories a mixture wants more rows than there are; empty where of none."""
    short = [f"{available[name]:,} of {n:,} {name}" for name, n in wanted.items() if n > available[name]]
    if not short:
        return ""
    there = ", ".join(short)
    return f"Beside the held-out rows there are {there}. `--available-only` recommends only what is there.\n"


def describe_trust(n_seeds: int) -> str:
    """Return what the intervals of a recommendation leave out, in a sentence."""
    if n_seeds == 1:
        covered = (
            "With one training seed the interval of the expected loss leaves out what another seed would "
            "change, and is too narrow. Take two or more (`--n-seeds`)."
        )
    else:
        covered = f"The intervals cover held-out rows and {n_seeds} training seeds."
    return (
        f"{covered} All intervals suppose that the law is true; one that is not can praise a worse mixture. "
        "Tune the recommended mixture and equal parts, and compare them, before you rely on it."
    )
