"""The command line of evaluation: `study evaluate`, `study export-harness`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from helpers.commands.output_folder import check_new_folder
from helpers.commands.terminal import add_options, plain_errors, report_progress, write_tables
from helpers.errors import StudyError
from helpers.evaluation.bleurt import check_scorer, measure_bleurt
from helpers.evaluation.judge import (
    JudgeSettings,
    build_journal,
    check_judge,
    check_judged_tasks,
    explain_judging,
    list_pair_requests,
    list_rating_requests,
)
from helpers.evaluation.settings import EvaluationSettings
from helpers.evaluation.sources import MODELS_OF_OTHER_GROUPS
from helpers.models.wheels import WHEEL_MODELS
from helpers.paths import show_name, shown
from helpers.prompts import ALPACA
from helpers.provider.connection import read_api_key
from helpers.provider.ledger import ProviderLimits
from helpers.settings import build_settings
from helpers.store import Run
from helpers.tuning.card import list_cautions, list_format_cautions

if TYPE_CHECKING:
    import pandas as pd

Evaluation = tuple[EvaluationSettings, Run]
Name = TypeVar("Name", str, Path)


Models = Annotated[
    list[str] | None,
    typer.Option(help="smollm2-135m, gemma-3-270m, a hub id or a folder; may be given again."),
]
Adapters = Annotated[
    list[Path] | None,
    typer.Option(help="Folder of an adapter that PEFT reads, for the one model; may be given again."),
]
Baselines = Annotated[
    bool,
    typer.Option("--baselines", help="Evaluate the paper's baselines too (models of 7B from the hub)."),
]
Tasks = Annotated[
    str, typer.Option(help="'all' nine embedded tasks, or names joined by commas, public ones included.")
]
Data = Annotated[
    Path | None,
    typer.Option(help="Folder of your own files, TASK.jsonl in the embedded format, or of public releases."),
]
NItems = Annotated[int, typer.Option(help="Test items per task, at most.")]
Losses = Annotated[
    bool, typer.Option("--losses", help="Measure the loss of the right answers too, without generating.")
]
Answers = Annotated[
    bool, typer.Option(help="Let the models answer; without it, losses alone, which is quick.")
]
BertScore = Annotated[
    bool, typer.Option("--bertscore", help="Measure BERTScore of generated texts, with a small encoder.")
]
Bleurt = Annotated[
    str, typer.Option(help="Measure BLEURT of generated texts, with this checkpoint: a hub id or a folder.")
]
Judge = Annotated[
    str, typer.Option(help="Model that rates generated texts; its key comes from OPENAI_API_KEY.")
]
JudgeUrl = Annotated[str, typer.Option(help="Address of the judge's OpenAI-compatible server.")]
JudgeEffort = Annotated[str, typer.Option(help="Reasoning effort of a judge that reasons, such as 'none'.")]
MaxCostUsd = Annotated[
    float, typer.Option(help="Cap on all spending for this judge, earlier runs included, in US dollars.")
]
MaxCostTokens = Annotated[int, typer.Option(help="The same in tokens, needed where the price is unknown.")]
NParallel = Annotated[int, typer.Option(help="Requests to the judge at a time.")]
TimeoutSeconds = Annotated[float, typer.Option(help="Longest wait for one reply of the judge, in seconds.")]
Teacher = Annotated[str, typer.Option(help="Model that wrote the training data; the judge must be another.")]
Output = Annotated[Path | None, typer.Option(file_okay=False, help="Folder for the tables as CSV.")]


@add_options(
    EvaluationSettings, "dtype", "choice_scoring", "permute_options", "prompt_format", "system_prompt"
)
def evaluate(
    model: Models = None,
    adapter: Adapters = None,
    baselines: Baselines = False,
    tasks: Tasks = "all",
    data: Data = None,
    n_items: NItems = 100,
    losses: Losses = False,
    answers: Answers = True,
    bertscore: BertScore = False,
    bleurt: Bleurt = "",
    judge: Judge = "",
    judge_url: JudgeUrl = "",
    judge_effort: JudgeEffort = "",
    max_cost_usd: MaxCostUsd = ProviderLimits.max_cost_usd,
    max_cost_tokens: MaxCostTokens = ProviderLimits.max_cost_tokens,
    n_parallel: NParallel = ProviderLimits.n_parallel,
    timeout_seconds: TimeoutSeconds = ProviderLimits.timeout_seconds,
    teacher: Teacher = "recorded",
    output: Output = None,
    **parameters: Any,
) -> None:
    """Evaluate models and adapters on tasks: scores with intervals and, for several, paired differences to
    the first.
    """
    settings = parameters | {"tasks": tasks, "n_items": n_items}
    others = MODELS_OF_OTHER_GROUPS if baselines else ()
    with plain_errors():
        models = drop_repeated([*(model or ["smollm2-135m"]), *others])
        adapters = drop_repeated(adapter or [])
        if adapters and len(models) > 1:
            raise StudyError(
                f"Adapters belong to one model, but {len(models)} models were named. Name the model that "
                "they were tuned on."
            )
        caps = {"max_cost_usd": max_cost_usd, "max_cost_tokens": max_cost_tokens}
        pace = {"n_parallel": n_parallel, "timeout_seconds": timeout_seconds}
        limits = build_settings(ProviderLimits, caps | pace)
        judged_by = JudgeSettings(judge, judge_url, judge_effort, teacher) if judge else None
        extra = ExtraMeasures(bertscore, bleurt, judged_by, limits, data)
        extra.check(tasks)
        evaluated = [build_settings(EvaluationSettings, settings | {"model": name}) for name in models]
        form = settings["prompt_format"]
        cautions = [said for name in models for said in list_format_cautions(Path(name), form)]
        cautions += [said for one in adapters for said in list_cautions(one, models[0], form)]
        for caution in cautions:
            typer.echo(caution)
        if form != ALPACA:
            typer.echo(show_prompts(evaluated, data))
        tables = {}
        if losses or not answers:
            with report_progress("losses"):
                tables["losses"] = tabulate_losses(evaluated, adapters, data)
        if answers:
            with report_progress("evaluate"):
                evaluations = run_evaluations(evaluated, adapters, data)
            if extra.judge:
                typer.echo(estimate_judging(evaluations, extra))
            try:
                with report_progress("measure"):
                    tables |= tabulate(evaluations, extra)
            except StudyError:
                if extra.judge:  # what is done is shown, whatever keeps the judge from its part
                    show_tables(tables | tabulate(evaluations, replace(extra, judge=None)), output)
                raise
        show_tables(tables, output)


def drop_repeated(names: Sequence[Name]) -> list[Name]:
    """Return names of models or folders without those of a folder that an earlier one names."""
    unique = {}
    for name in names:
        is_folder = name not in WHEEL_MODELS and os.path.isdir(name)  # noqa: PTH112 (long: Path raises)
        unique.setdefault(os.path.realpath(name) if is_folder else name, name)
    return list(unique.values())


def show_prompts(evaluated: list[EvaluationSettings], data: Path | None) -> str:
    """Return the first prompt of the first task as each model gets it, decoded from its ids."""
    from helpers.evaluation.prepared_tasks import list_first_prompts

    first = {own.model: list_first_prompts(own, data).iloc[0] for own in evaluated}
    return "\n".join(
        f"first prompt of {row['task']}, {name}:\n{row['prompt']}\n" for name, row in first.items()
    )


def show_tables(tables: dict[str, pd.DataFrame], output: Path | None) -> None:
    """Print the tables and, where a folder is named, write each as CSV."""
    for name, table in tables.items():
        typer.echo(f"\n{name}\n{table.round(4).to_string(index=False)}")
    if output:
        write_tables(tables, output, n_decimals=4)


@dataclass(frozen=True)
class ExtraMeasures:
    """What is measured beyond the scores, the limits of the judge, and the folder of the user's files, which
    holds the references.
    """

    bertscore: bool
    bleurt: str
    judge: JudgeSettings | None
    limits: ProviderLimits
    data: Path | None

    def check(self, tasks: str) -> None:
        """Raise StudyError where something that is asked for cannot be had, before any model runs."""
        if self.bleurt:
            check_scorer(self.bleurt)
        if self.judge:
            check_judge(self.judge, self.limits)
            check_judged_tasks(tasks)
            read_api_key(build_journal(self.judge).model)


def run_evaluations(
    evaluated: list[EvaluationSettings], adapters: list[Path], data: Path | None
) -> dict[str, Evaluation]:
    """Evaluate models, and adapters on the one model; return settings and run of each by its name."""
    from helpers.evaluation.stage import evaluate_adapters

    evaluations = {}
    for own in evaluated:
        runs = evaluate_adapters(own, name_models(own.model, adapters), data)
        evaluations |= {label: (own, run) for label, run in runs.items()}
    return evaluations


def name_models(model: str, adapters: list[Path]) -> dict[str, Path | None]:
    """Return the names under which a model and its adapters stand in the tables; an adapter whose folder is
    called like the model says that it is one.
    """
    folders = {f"{path} (adapter)" if str(path) == model else str(path): path for path in adapters}
    return {show_name(label): path for label, path in ({model: None} | folders).items()}


def tabulate_losses(
    evaluated: list[EvaluationSettings], adapters: list[Path], data: Path | None
) -> pd.DataFrame:
    """Return the mean losses of the right answers of each model, and each adapter, on each task."""
    import pandas as pd

    from helpers.evaluation.answer_loss import average_losses, measure_answer_loss, read_answer_losses
    from helpers.evaluation.merging import SharedBase

    frames = []
    for own in evaluated:
        base = SharedBase(own.model, own.dtype)
        for label, adapter in name_models(own.model, adapters).items():
            runs = measure_answer_loss(own, own.n_items, adapter, data, base)
            frames.append(read_answer_losses(runs).assign(cell=label))
    return average_losses(pd.concat(frames, ignore_index=True))


def estimate_judging(evaluations: dict[str, Evaluation], extra: ExtraMeasures) -> str:
    """Return what the judgements will cost: ratings of every model's texts, and each later model's texts
    against the first one's.
    """
    (_, first), *others = evaluations.values()
    requests = [
        request
        for settings, run in evaluations.values()
        for request in list_rating_requests(settings, run, extra.data)
    ]
    requests += [
        request
        for settings, run in others
        for request in list_pair_requests(settings, run, first, extra.data)
    ]
    return explain_judging(extra.judge, extra.limits, requests)


def tabulate(evaluations: dict[str, Evaluation], extra: ExtraMeasures) -> dict[str, pd.DataFrame]:
    """Return the tables by name: scores, differences to the first model, extra measures, the judge's
    replies, letters chosen, the judge's preferences, each where it applies.
    """
    from helpers.analysis.contrasts import average_scores
    from helpers.analysis.measures import (
        average_measures,
        count_judgements,
        rate_letters,
        tabulate_preferences,
    )
    from helpers.analysis.paired_tests import compare_models
    from helpers.evaluation.stage import read_items

    first = next(iter(evaluations))
    measured = {name: list(measure_extra(*evaluation, extra)) for name, evaluation in evaluations.items()}
    items = read_items({name: run for name, (_, run) in evaluations.items()}, measured)
    tables = {"scores": average_scores(items)}
    if len(evaluations) > 1:
        tables["differences"] = compare_models(items, first)
    tables["measures"] = average_measures(items)
    if extra.judge:
        tables["judgements"] = count_judgements({name: runs[-1] for name, runs in measured.items()})
    if "letters" in items:
        tables["letters"] = rate_letters(items)
    if extra.judge and len(evaluations) > 1:
        tables["preferences"] = tabulate_preferences(
            {name: judge_against(evaluations, name, first, extra) for name in list(evaluations)[1:]}
        )
    return tables


def measure_extra(settings: EvaluationSettings, run: Run, extra: ExtraMeasures) -> Iterator[Run]:
    """Yield the runs of the extra measures of an evaluation's generated texts."""
    from helpers.evaluation.bertscore import measure_bertscore
    from helpers.evaluation.judge import judge_texts

    if extra.bertscore:
        yield measure_bertscore(settings, run, extra.data)
    if extra.bleurt:
        yield measure_bleurt(extra.bleurt, settings, run, extra.data)
    if extra.judge:
        yield judge_texts(extra.judge, settings, run, extra.data, extra.limits)


def judge_against(evaluations: dict[str, Evaluation], name: str, first: str, extra: ExtraMeasures) -> Run:
    """Have a model's texts compared with the first model's."""
    from helpers.evaluation.judge import judge_pairs

    settings, run = evaluations[name]
    return judge_pairs(extra.judge, settings, run, evaluations[first][1], extra.data, extra.limits)


def export_harness(
    folder: Annotated[
        Path,
        typer.Argument(file_okay=False, help="New or empty folder; give it to `lm_eval --include_path`."),
    ],
    model: Annotated[
        str, typer.Option(help="Model whose tokenizer counts the lengths of options.")
    ] = "smollm2-135m",
    tasks: Annotated[
        str, typer.Option(help="'all' embedded choice tasks, or names joined by commas.")
    ] = "all",
    data: Annotated[Path | None, typer.Option(help="Folder of your own files or of public releases.")] = None,
) -> None:
    """Write the choice tasks for lm-evaluation-harness, by text and by letter."""
    from helpers.evaluation.harness_export import export_harness

    with plain_errors():
        check_new_folder(folder, "FOLDER")  # tasks of an earlier call have the lengths of its model
        names = export_harness(folder, model, tasks, data)
        typer.echo(f"{len(names)} tasks in {shown(folder)}: {', '.join(names)}")
