"""The command line of evaluation: `study evaluate`, `study export-harness`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from helpers.errors import StudyError
from helpers.evaluation.sources import BASELINES
from helpers.paths import shown

if TYPE_CHECKING:
    import pandas as pd


def evaluate(
    model: Annotated[list[str] | None, typer.Option(help="smollm2-135m, gemma-3-270m, a hub id or a folder; may be given again.")] = None,
    adapter: Annotated[list[Path] | None, typer.Option(help="Folder of an adapter that PEFT reads, for the one model; may be given again.")] = None,
    baselines: Annotated[bool, typer.Option("--baselines", help="Evaluate the paper's baselines too (7B and 13B models from the hub).")] = False,
    tasks: Annotated[str, typer.Option(help="'all' nine embedded tasks, or names joined by commas, public ones included.")] = "all",
    data: Annotated[Path | None, typer.Option(help="Folder of your own files, TASK.jsonl in the embedded format, or of public releases.")] = None,
    n_items: Annotated[int, typer.Option(help="Test items a task, at most.")] = 100,
    choice_scoring: Annotated[str, typer.Option(help="Choice tasks by the options' 'text', or by the 'letter' of listed ones.")] = "text",
    permute_options: Annotated[bool, typer.Option("--permute-options", help="Show listed options in every cyclic order.")] = False,
    output: Annotated[Path | None, typer.Option(help="Folder for the tables as CSV.")] = None,
) -> None:
    """Evaluate models and adapters on tasks: scores with intervals and, for several, paired differences to the first."""
    from helpers.cli import plain_errors, report_progress

    settings = {"tasks": tasks, "n_items": n_items, "choice_scoring": choice_scoring, "permute_options": permute_options}
    models = [*(model or ["smollm2-135m"]), *(BASELINES if baselines else [])]
    with plain_errors():
        if adapter and len(models) > 1:
            raise StudyError(f"Adapters belong to one model, but {len(models)} models were named. Name the model that they were tuned on.")
        with report_progress("evaluate"):
            tables = tabulate(models, adapter or [], settings, data)
        for name, table in tables.items():
            typer.echo(f"\n{name}\n{table.round(4).to_string(index=False)}")
            if output:
                from helpers.store import write_text

                write_text(output / f"{name}.csv", table.round(4).to_csv(index=False))
        if output:
            typer.echo(f"\nwritten: {', '.join(f'{name}.csv' for name in tables)} in {shown(output)}")


def tabulate(models: list[str], adapters: list[Path], settings: dict, data: Path | None) -> dict[str, pd.DataFrame]:
    """Evaluate and return the tables by name: scores, differences (for several models), measures, letters (where options are chosen)."""
    from helpers.analysis.measures import average_measures, compare_models, rate_letters, score_models
    from helpers.evaluation.stage import EvaluationSettings, evaluate_adapters, read_items
    from helpers.settings import pick

    runs = {}
    for name in models:
        names = {name: None} | {str(adapter): adapter for adapter in adapters}
        runs |= evaluate_adapters(pick(EvaluationSettings, settings | {"model": name}), names, data)
    items = read_items(runs)
    tables = {"scores": score_models(items)}
    if len(runs) > 1:
        tables["differences"] = compare_models(items, models[0])
    tables["measures"] = average_measures(items)
    if "letters" in items:
        tables["letters"] = rate_letters(items)
    return tables


def export_harness(
    folder: Annotated[Path, typer.Argument(help="Where to write; give it to `lm_eval --include_path`.")],
    model: Annotated[str, typer.Option(help="Model whose tokenizer counts the lengths of options.")] = "smollm2-135m",
    tasks: Annotated[str, typer.Option(help="'all' embedded choice tasks, or names joined by commas.")] = "all",
    data: Annotated[Path | None, typer.Option(help="Folder of your own files or of public releases.")] = None,
) -> None:
    """Write the choice tasks for lm-evaluation-harness, by text and by letter."""
    from helpers.cli import plain_errors
    from helpers.evaluation import harness

    with plain_errors():
        names = harness.export_harness(folder, model, tasks, data)
        typer.echo(f"{len(names)} tasks in {shown(folder)}: {', '.join(names)}")
