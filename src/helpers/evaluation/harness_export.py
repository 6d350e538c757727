"""Export of the choice tasks for lm-evaluation-harness, as a check from outside: the same prompts, the same
options, the same choice.

The harness takes the line feed at the end of a prompt for a part of the continuation. It adds the same to all
options of an item; to take it off again, the tasks by text have it alone as one more continuation, and
lengths are counted in tokens of the model that the export is made for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import StudyError
from helpers.evaluation.prepared_tasks import PreparedTask, encode_options, prepare_tasks
from helpers.evaluation.settings import EvaluationSettings
from helpers.evaluation.task_prompts import LETTER, TEXT
from helpers.files import write_text
from helpers.jsonl import dump_rows
from helpers.models.load import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

EVERY_ITEM = 1_000_000
LINE_FEED = "\n"
CHOOSE = "choose.py"
CHOOSE_CODE = '''"""Scoring of choices by text: the mean log-likelihood per token.

The line feed that all options begin with does not count.
"""


def choose(doc, results):
    """Return the index of the most likely option."""
    *likelihoods, line_feed = (likelihood for likelihood, _ in results)
    means = [(likelihood - line_feed) / n for likelihood, n in zip(likelihoods, doc["n_tokens"], strict=True)]
    return max(range(len(means)), key=means.__getitem__)


def score(doc, results):
    """Return whether the most likely option is the right one."""
    return {"acc": float(choose(doc, results) == doc["answer"])}
'''


def export_harness(folder: Path, model: str, tasks: str = "all", data: Path | None = None) -> list[str]:
    """Write every choice task twice, by text and by letter, with its items.

    Args:
        folder: where to write; `lm_eval --include_path` takes it.
        model: the model whose tokenizer counts the lengths of options.
        tasks: 'all', or names joined by commas; tasks without options are left aside.
        data: folder of the user's files, as `tasks.load_items` takes it.

    Returns:
        Names of the harness's tasks.

    Raises:
        StudyError: none of the tasks has options.
    """
    tokenizer = load_tokenizer(model)
    names = []
    for way in (TEXT, LETTER):
        settings = EvaluationSettings(model=model, tasks=tasks, n_items=EVERY_ITEM, choice_scoring=way)
        for prepared in prepare_tasks(settings, data):
            if prepared.task.is_choice:
                names.append(f"study_{prepared.task.name}_{way}")
                items = folder / f"{names[-1]}.jsonl"
                write_text(items, dump_rows(describe_items(prepared, tokenizer)))
                write_text(folder / f"{names[-1]}.yaml", build_task_yaml(names[-1], way, items.resolve()))
    if not names:
        raise StudyError(f"`tasks` must name at least one choice task, but {tasks!r} was found.")
    write_text(folder / CHOOSE, CHOOSE_CODE)
    return names


def describe_items(prepared: PreparedTask, tokenizer: PreTrainedTokenizerBase) -> Iterable[dict[str, Any]]:
    """Yield the items as the harness reads them: prompt, choices, number of tokens of each, index of the
    right one.
    """
    for item in prepared.items:
        (prompt,) = (prompt.text for prompt in prepared.build_prompts(item))
        options = encode_options(tokenizer, prepared, item, 0)
        shown = [*prepared.show_options(item), *([] if prepared.by_letter else [""])]
        choices = [LINE_FEED + text for text in shown]
        yield {
            "id": item.id,
            "prompt": prompt.removesuffix(LINE_FEED),
            "choices": choices,
            "n_tokens": [len(ids) for ids in options],
            "answer": item.answer,
        }


def build_task_yaml(name: str, way: str, items: Path) -> str:
    """Return the YAML of one task of the harness."""
    scoring = f"process_results: !function {Path(CHOOSE).stem}.score\n" if way == TEXT else ""
    return (
        f"task: {name}\ntag: study_{way}\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    test: "
        f"{json.dumps(str(items))}\ntest_split: test\n"
        'output_type: multiple_choice\ndoc_to_text: "{{prompt}}"\ndoc_to_choice: choices\ndoc_to_target: '
        'answer\ntarget_delimiter: ""\n'
        f"{scoring}metric_list:\n  - metric: acc\n    aggregation: mean\n    higher_is_better: true\n"
    )
