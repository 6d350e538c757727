"""The evaluation stage: a model, with or without an adapter, on the benchmark; raw outputs first, then scores."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.evaluation.choice import score_options
from helpers.evaluation.generation import generate_greedily
from helpers.evaluation.tasks import Task, build_task_prompt, load_items, parse_tasks, select_items
from helpers.models import identify_model, load_model, load_tokenizer, quiet_peft
from helpers.paths import BENCHMARK
from helpers.progress import track
from helpers.records import BenchmarkItem, dump_rows
from helpers.settings import parameter
from helpers.store import Run, run_stage, sha256_file, write_text
from helpers.tuning.lora import ADAPTER
from helpers.tuning.rows import encode_prompt

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
    """Evaluate a model on the benchmark.

    Args:
        settings: model, tasks, items.
        adapter: a tuning run whose adapter is merged into the model; None for the model as it is.

    Returns:
        A run with `items.jsonl`: one row an item, with the model's answer, its score in 0..1 and whether it could be parsed.
    """
    tasks = parse_tasks(settings.tasks)
    inputs = {task.name: sha256_file(BENCHMARK / f"{task.name}.jsonl") for task in tasks}
    inputs |= {"model": identify_model(settings.model), "adapter": adapter.fingerprint if adapter else "none"}
    code = ("evaluation", "prompts.py", "models.py", "rouge.py")
    return run_stage("evaluation", settings, inputs, code, lambda folder: _evaluate(settings, tasks, adapter, folder))


def _evaluate(settings: EvaluationSettings, tasks: Sequence[Task], adapter: Run | None, folder: Path) -> dict[str, Any]:
    tokenizer = load_tokenizer(settings.model)
    model: PreTrainedModel | None = None
    rows: list[dict[str, Any]] = []
    with track(f"evaluate {'tuned' if adapter else 'base'} model", len(tasks), "tasks") as advance:
        for task in tasks:
            every, demonstration = load_items(task)
            items = select_items(every, settings.n_items)
            outputs = folder / f"outputs-{task.name}.jsonl"
            if not outputs.exists():  # an interrupted run has answered this task already
                model = model or load_tuned(settings.model, adapter)
                prompts = [encode_prompt(tokenizer, build_task_prompt(task, item, demonstration)) for item in items]
                answers = answer_items(model, tokenizer, task, items, prompts)
                write_text(outputs, dump_rows({"id": item.id} | answer for item, answer in zip(items, answers, strict=True)))
            rows += score_outputs(task, items, outputs)
            advance(note=task.name)
    write_text(folder / ITEMS, dump_rows(rows))
    return {"n_items": len(rows)}


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


def score_outputs(task: Task, items: Sequence[BenchmarkItem], outputs: Path) -> list[dict[str, Any]]:
    """Score stored outputs; needs no model."""
    answers = [json.loads(line) for line in outputs.read_text(encoding="utf-8").splitlines()]
    return [_score_item(task, item, answer) for item, answer in zip(items, answers, strict=True)]


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
