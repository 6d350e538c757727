"""`study tune`: one model, one instruction file, one adapter; every parameter of a tuning run
is an option.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from helpers.commands.output_folder import check_new_folder, fill_folder
from helpers.commands.terminal import add_options, plain_errors, report_progress
from helpers.errors import StudyError
from helpers.evaluation.prepared_tasks import prepare_tasks
from helpers.evaluation.settings import EvaluationSettings
from helpers.evaluation.stage import evaluate_adapters, read_items
from helpers.jsonl import read_rows
from helpers.models.load import load_tokenizer
from helpers.paths import shown
from helpers.prompts import CHAT, PromptFormat
from helpers.records import Instruction
from helpers.settings import build_settings
from helpers.store import Run
from helpers.synthesis.user_rows import prepare_rows_file
from helpers.tuning.card import list_cautions
from helpers.tuning.lora import adopt_parent
from helpers.tuning.processes import join_processes
from helpers.tuning.rows import encode_row, parse_categories
from helpers.tuning.settings import TuningSettings
from helpers.tuning.stage import ADAPTER, tune, write_card

if TYPE_CHECKING:
    import pandas as pd

Instructions = Annotated[
    Path, typer.Option(help="File of JSON rows with instruction, input, output, and a category where known.")
]
Output = Annotated[Path | None, typer.Option(help="Folder to copy the adapter to, with its card.")]
Tasks = Annotated[
    str,
    typer.Option(
        help="Tasks on which base and adapter are compared for the card: 'all', or names joined by commas. "
        "Empty: none."
    ),
]
NItems = Annotated[int, typer.Option(help="Test items per task, at most.")]
Start = Annotated[
    Path | None,
    typer.Option(
        "--from",
        help="Folder of an adapter to go on from; its rank, scale, dropout and layers stay.",
    ),
]


@add_options(TuningSettings)
def tune_adapter(
    instructions: Instructions,
    output: Output = None,
    tasks: Tasks = "",
    n_items: NItems = 12,
    start: Start = None,
    **parameters: Any,
) -> None:
    """Tune any LLaMA-like model with LoRA on a file of instructions; the adapter loads with plain peft.

    Several GPUs: `accelerate launch --multi_gpu .venv/bin/study tune ...`, and `--use_fsdp` in place of
    `--multi_gpu` to split the frozen weights.
    """
    with plain_errors():
        settings = build_settings(TuningSettings, parameters)
        parse_categories(settings.categories)
        if not instructions.is_file():
            raise StudyError(
                f"`instructions` must name a JSONL file, but none lies at {str(instructions)!r}."
            )
        if output:
            check_new_folder(output, "output")
        if start:
            settings = adopt_parent(settings, start)
            for caution in list_cautions(start, settings.model, settings.prompt_format):
                typer.echo(caution)
        evaluation_settings = build_settings(
            EvaluationSettings, dataclasses.asdict(settings) | {"tasks": tasks, "n_items": n_items}
        )
        if tasks:
            prepare_tasks(evaluation_settings)
        with report_progress(f"tune {settings.model}"):
            instructions = prepare_rows_file(instructions)
        if settings.prompt_format == CHAT:
            typer.echo(show_prompt(settings, instructions))
        processes = join_processes()
        try:
            with report_progress(f"tune {settings.model}"):
                run = tune(settings, instructions, start)
                scores = (
                    score_adapter(evaluation_settings, run) if tasks and processes.is_main_process else None
                )
            if processes.is_main_process:
                typer.echo(summarize_run(run, sum(1 for _ in read_rows(instructions, Instruction))))
                if output:
                    export_adapter(run, settings, output, scores)
                    typer.echo(f"copied to {shown(output)}")
        finally:
            processes.destroy_process_group()


def summarize_run(run: Run, n_of_file: int) -> str:
    """Return what a user wants to know of a tuning run on a file of so many rows, in a few lines."""
    facts = run.manifest["facts"]
    return (
        f"{'stored result: ' if run.reused else ''}{facts['n_rows']:,} of {n_of_file:,} rows "
        f"({facts['n_too_long']:,} of the file were too long), {facts['n_steps']} steps, "
        f"{facts['n_tokens'] / facts['train_seconds']:.0f} tokens/s on {facts['hardware']}\n"
        f"{facts['n_trainable']:,} weights learnt, largest norm of a B matrix {facts['largest_b_norm']:.3g}\n"
        f"adapter: {shown(run.file(ADAPTER))}"
    )


def show_prompt(settings: TuningSettings, instructions: Path) -> str:
    """Return the first row's prompt and response as the model gets them, decoded from their ids."""
    row = next(iter(read_rows(instructions, Instruction)))
    tokenizer = load_tokenizer(settings.model)
    encoded = encode_row(tokenizer, row, PromptFormat.from_settings(settings))
    prompt, response = encoded.input_ids[: encoded.n_prompt], encoded.input_ids[encoded.n_prompt :]
    return f"first prompt:\n{tokenizer.decode(prompt)}\nresponse to learn:\n{tokenizer.decode(response)}\n"


def score_adapter(evaluation_settings: EvaluationSettings, run: Run) -> pd.DataFrame:
    """Return the scores of base and tuned model with intervals, one row per task and model."""
    from helpers.analysis.contrasts import average_scores
    from helpers.records import BASE

    return average_scores(
        read_items(evaluate_adapters(evaluation_settings, {BASE: None, "tuned": run.file(ADAPTER)}))
    )


def export_adapter(
    run: Run, settings: TuningSettings, folder: Path, scores: pd.DataFrame | None = None
) -> None:
    """Copy a run's adapter to a folder and write its card anew, with the scores where there are some.

    Raises:
        StudyError: the folder holds something by now, such as the adapter of another process.
    """
    with fill_folder(folder) as part:
        shutil.copytree(run.file(ADAPTER), part, dirs_exist_ok=True)
        write_card(run, settings, part, [] if scores is None else scores.to_dict("records"))
