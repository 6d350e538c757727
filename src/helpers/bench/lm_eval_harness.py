"""Speed of choices against lm-evaluation-harness: the same model in memory, the same items, tokenization
included, and the same answers.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from helpers.errors import StudyError
from helpers.evaluation.harness_export import LINE_FEED

if TYPE_CHECKING:
    from helpers.evaluation.prepared_tasks import PreparedTask

MODEL = "smollm2-135m"
TASKS = "exam_choice,broad_choice"
N_ITEMS = 16
AGAINST = "lm-evaluation-harness 0.4.13"


def list_comparisons() -> dict[str, tuple[Callable[[], Any], str]]:
    """Return the comparisons by name; none where the harness is not installed, which `make bench` does."""
    if importlib.util.find_spec("lm_eval") is None:
        return {}
    return {f"{way}_items": (partial(compare_with_harness, way), AGAINST) for way in ("text", "letter")}


def compare_with_harness(way: str) -> tuple[Callable[[], Any], Callable[[], Any], int]:
    """Choices by the text of the options, or by the letter of listed ones; n is the number of items.

    Raises:
        StudyError: the two do not choose alike, so their times would say nothing.
    """
    from lm_eval.models.huggingface import HFLM

    from helpers.evaluation.prepared_tasks import prepare_tasks
    from helpers.evaluation.stage import CHOICE_BATCH_SIZE, EvaluationSettings, answer_items
    from helpers.models.load import load_model, load_tokenizer

    model, tokenizer = load_model(MODEL), load_tokenizer(MODEL)
    prepared_tasks = prepare_tasks(
        EvaluationSettings(model=MODEL, tasks=TASKS, n_items=N_ITEMS, choice_scoring=way)
    )
    harness = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=CHOICE_BATCH_SIZE)
    requests = [request for prepared in prepared_tasks for request in list_requests(prepared)]

    def ours() -> list[int]:
        answers = [
            answer["loglikelihoods"][0]
            for prepared in prepared_tasks
            for answer in answer_items(model, tokenizer, prepared)
        ]
        return [max(range(len(values)), key=values.__getitem__) for values in answers]

    def theirs() -> list[tuple[float, bool]]:
        return harness.loglikelihood(requests, disable_tqdm=True)

    if ours() != choose_theirs(prepared_tasks, theirs(), harness, tokenizer):
        raise StudyError(
            "Harness and study do not choose alike, so their times say nothing. Run `pytest "
            "tests/evaluation/test_harness_export.py`."
        )
    return ours, theirs, sum(len(prepared.items) for prepared in prepared_tasks)


def list_requests(prepared: PreparedTask) -> list[Any]:
    """Return the harness's requests: one a choice, prompt and option as the harness would pair them."""
    return [
        _request(prepared.build_prompts(item)[0].text, text)
        for item in prepared.items
        for text in prepared.show_options(item)
    ]


def choose_theirs(
    prepared_tasks: Sequence[PreparedTask], results: list[tuple[float, bool]], harness: Any, tokenizer: Any
) -> list[int]:
    """Return what the harness's log-likelihoods choose: the sum by letter; by text the mean per token,
    without the line feed that all options begin with.
    """
    values = iter(results)
    chosen = []
    for prepared in prepared_tasks:
        feeds = harness.loglikelihood(
            [_request(prepared.build_prompts(item)[0].text, "") for item in prepared.items], disable_tqdm=True
        )
        for item, (feed, _) in zip(prepared.items, feeds, strict=True):
            lengths = [
                len(tokenizer(text, add_special_tokens=False)["input_ids"])
                for text in prepared.show_options(item)
            ]
            means = [(next(values)[0] - feed) / length for length in lengths]
            chosen.append(max(range(len(means)), key=means.__getitem__))
    return chosen


def _request(prompt: str, option: str) -> Any:
    from lm_eval.api.instance import Instance

    return Instance(
        request_type="loglikelihood",
        doc={},
        arguments=(prompt.removesuffix(LINE_FEED), LINE_FEED + option),
        idx=0,
    )
