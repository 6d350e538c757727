"""The evaluation stage: a model, with or without an adapter, on the benchmark; raw outputs first, then scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.evaluation.choice import score_options
from helpers.evaluation.generation import generate_greedily
from helpers.evaluation.tasks import Task, build_task_prompt, load_items, parse_tasks, select_items
from helpers.models import identify_model, load_model, load_tokenizer, quiet_peft
from helpers.paths import BENCHMARK
from helpers.progress import track
from helpers.prompts import encode_prompt
from helpers.records import BenchmarkItem, dump_rows, read_json_lines
from helpers.settings import parameter
from helpers.store import Run, run_stage, sha256_file, write_text
from helpers.tuning.lora import ADAPTER

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ITEMS = "items.jsonl"
BATCH_SIZE = 32
CHOICE_BATCH_SIZE = 8


@dataclasses.dataclass(frozen=True)
class EvaluationSettings:
    """Parameters of an evaluation; decoding is greedy for every model."""

    model: str = parameter("smollm2-135m", "smollm2-135m, gemma-3-270m, a hub id or a folder")
    tasks: str = parameter("all", "'all', or task names joined by commas")
    n_items: int = parameter(12, "test items a task, at most; the same for every model", minimum=2)


def evaluate(settings: EvaluationSettings, adapter: Run | None = None) -> Run:
    """Evaluate a model on the benchmark: its raw answers are stored first, so that scoring can be redone without the model.

    Args:
        settings: model, tasks, items.
        adapter: a tuning run whose adapter is merged into the model; None for the model as it is.

    Returns:
        A run with `items.jsonl`: one row an item, with the model's answer, its score in 0..1 and whether it could be parsed.
    """
    tasks = parse_tasks(settings.tasks)
    answers = answer_tasks(settings, tasks, adapter)

    def compute(folder: Path) -> dict[str, Any]:
        rows = [row for task in tasks for row in score_answers(task, select_items(load_items(task)[0], settings.n_items), answers.file(name_answers(task)))]
        write_text(folder / ITEMS, dump_rows(rows))
        return {"n_items": len(rows), "answers": answers.fingerprint, "answer_seconds": answers.manifest["seconds"]}

    code = ("evaluation/stage.py", "evaluation/metrics.py", "evaluation/tasks.py", "rouge.py")
    return run_stage("evaluation", settings, {"answers": answers.fingerprint}, code, compute)


def answer_tasks(settings: EvaluationSettings, tasks: Sequence[Task], adapter: Run | None) -> Run:
    """Let a model answer the tasks; an interrupted run goes on with the task it had reached."""
    inputs = {task.name: sha256_file(BENCHMARK / f"{task.name}.jsonl") for task in tasks}
    inputs |= {"model": identify_model(settings.model), "adapter": adapter.fingerprint if adapter else "none"}

    def compute(folder: Path) -> dict[str, Any]:
        tokenizer = load_tokenizer(settings.model)
        model: PreTrainedModel | None = None
        with track(f"evaluate {'tuned' if adapter else 'base'} model", len(tasks), "tasks") as advance:
            for task in tasks:
                if not (folder / name_answers(task)).exists():
                    model = model or load_tuned(settings.model, adapter)
                    every, demonstration = load_items(task)
                    items = select_items(every, settings.n_items)
                    prompts = [encode_prompt(tokenizer, build_task_prompt(task, item, demonstration)) for item in items]
                    answers = answer_items(model, tokenizer, task, items, prompts)
                    write_text(folder / name_answers(task), dump_rows({"id": item.id} | answer for item, answer in zip(items, answers, strict=True)))
                advance(note=task.name)
        return {"n_tasks": len(tasks)}

    code = (*(f"evaluation/{name}.py" for name in ("choice", "generation", "prefix", "stage", "tasks")), "prompts.py", "models.py")
    return run_stage("answers", settings, inputs, code, compute)


def name_answers(task: Task) -> str:
    """Return the name of the file that holds a task's answers."""
    return f"{task.name}.jsonl"


def load_tuned(name: str, adapter: Run | None) -> PreTrainedModel:
    """Load a model and merge an adapter into its weights, so that base and tuned models run the very same layers."""
    model = load_model(name)
    if adapter is None:
        return model
    from peft import PeftModel

    with quiet_peft():
        return PeftModel.from_pretrained(model, adapter.file(ADAPTER)).merge_and_unload().eval()


def answer_items(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, task: Task, items: Sequence[BenchmarkItem], prompts: Sequence[list[int]]
) -> list[dict[str, Any]]:
    """Return a model's raw answers: log-likelihoods of the options, or the text that it wrote."""
    if not task.is_choice:
        ids = generate_greedily(model, prompts, task.max_new_tokens, tokenizer.eos_token_id, BATCH_SIZE)
        return [{"response": tokenizer.decode(answer, skip_special_tokens=True)} for answer in ids]
    options = [[tokenizer(option, add_special_tokens=False)["input_ids"] for option in item.options] for item in items]
    return [{"loglikelihoods": scores} for scores in score_options(model, list(zip(prompts, options, strict=True)), CHOICE_BATCH_SIZE)]


def score_answers(task: Task, items: Sequence[BenchmarkItem], answers: Path) -> list[dict[str, Any]]:
    """Score stored answers; needs no model."""
    return [_score_item(task, item, answer) for item, answer in zip(items, read_json_lines(answers), strict=True)]


def _score_item(task: Task, item: BenchmarkItem, answer: dict[str, Any]) -> dict[str, Any]:
    if task.is_choice:
        values = answer["loglikelihoods"]
        chosen = max(range(len(values)), key=values.__getitem__)
        response, score, parsed = item.options[chosen], float(chosen == item.answer), True
    else:
        response = answer["response"]
        score, parsed = task.score(response, item)
    return {
        "task": task.name,
        "category": task.category,
        "item": item.id,
        "difficulty": item.difficulty,
        "score": score,
        "parsed": parsed,
        "response": response,
    }
