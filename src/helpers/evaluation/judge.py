"""A language model as judge of generated texts: ratings of each text, and preferences between two, asked in
both orders.

The judge is any model behind an OpenAI-compatible server. It must be named, and must not be the teacher whose
manner the tuned model has learnt: models rate their own kind higher (Panickssery et al., 2024). It is asked
as a live teacher is: many requests at a time, within a cap, every reply on disk before it is used and never
asked for twice. A reply that is not what was asked for gives no rating.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from helpers.errors import StudyError
from helpers.evaluation.prepared_tasks import PreparedTask, prepare_tasks
from helpers.evaluation.settings import EvaluationSettings
from helpers.evaluation.stage import ITEMS, MEASURED
from helpers.evaluation.tasks import parse_tasks
from helpers.files import write_text
from helpers.jsonl import dump_rows, find_json_object, read_json_lines
from helpers.progress import track
from helpers.provider.estimate import explain_estimate
from helpers.provider.exchanges import ask_live
from helpers.provider.journal import Body, Exchange, Journal, RemoteModel
from helpers.provider.ledger import Ledger, ProviderLimits
from helpers.provider.prices import BYTES_PER_TOKEN, name_family
from helpers.provider.responses import build_body
from helpers.provider.text_cleaning import cut_reasoning, quote_line
from helpers.provider.urls import check_address, check_name
from helpers.records import BenchmarkItem
from helpers.settings import parameter
from helpers.store import Run, run_stage

ASPECTS = ("coherence", "completeness", "naturalness")
JUDGED_CATEGORY = "gen"  # category of the tasks that ask for a text
MAX_REPLY_TOKENS = 400
VERSION = 3
RATINGS_EXAMPLE = '{"coherence": 3, "completeness": 3, "naturalness": 3}'
RATING_REQUEST = (
    "You assess a text that was written for a biomedical task. Give three marks, each a whole number from 1 "
    "(very poor) to 5 (excellent).\n"
    "coherence: the text is well ordered and does not contradict itself or the task.\n"
    "completeness: the text holds what matters in the reference.\n"
    "naturalness: the text reads as if a careful clinician had written it.\n"
    f"Reply with a JSON object such as {RATINGS_EXAMPLE}, and nothing else.\n\n"
)
PREFERENCE_REQUEST = (
    "Two texts, A and B, were written for the same biomedical task. Say which serves it better, judged by "
    "coherence, completeness with respect to the "
    'reference, and naturalness. Reply with a JSON object, {"better": "A"}, {"better": "B"} or {"better": '
    '"tie"}, and nothing else.\n\n'
)

Row = dict[str, Any]
EQUAL_TEXTS: Row = {"preference": 0.5, "agrees": None}


@dataclasses.dataclass(frozen=True)
class JudgeSettings:
    """Parameters of a judge; there is no default model."""

    judge: str = parameter("", "model that judges, as its server knows it")
    judge_url: str = parameter("", "address of an OpenAI-compatible server; empty: the provider's own")
    reasoning_effort: str = parameter("", "of a judge that reasons ('none', 'low', ...); empty: not sent")
    teacher: str = parameter("recorded", "model that wrote the training data; the judge must be another one")


@dataclasses.dataclass(frozen=True)
class JudgeRequest:
    """What is asked of one item: a request for ratings, or the two orders of a pair; nothing where its two
    texts are equal.
    """

    task: str
    item: str
    prompts: tuple[str, ...]


def check_judge(settings: JudgeSettings, limits: ProviderLimits) -> None:
    """Raise StudyError if no judge is named, its address is none, it is the teacher, or its price is unknown
    and no cap in tokens is given.
    """
    check_name("judge", settings.judge)
    check_address("judge_url", settings.judge_url)
    if not settings.judge:
        raise StudyError(
            "`judge` must name a model, but none was found. There is no default: who judges is a part of the "
            "result."
        )
    judge, teacher = (  # a router names the maker before a slash
        name_family(name).rpartition("/")[2].lower() for name in (settings.judge, settings.teacher)
    )
    if judge == teacher:
        raise StudyError(
            f"`judge` must not be the teacher, but {settings.judge!r} and {settings.teacher!r} were found. "
            "Name a model of another maker."
        )
    Ledger(build_journal(settings), limits)


def check_judged_tasks(tasks: str) -> None:
    """Raise StudyError if none of the tasks has texts for a judge."""
    if not any(task.category == JUDGED_CATEGORY for task in parse_tasks(tasks)):
        raise StudyError(
            f"A judge rates the texts of tasks that ask for one, but `tasks` ({tasks}) names none. Add one, "
            "such as patient_answer, or leave `judge` out."
        )


def build_journal(settings: JudgeSettings) -> Journal:
    """Build the journal of the judge's replies."""
    return Journal(RemoteModel("judge", settings.judge, settings.judge_url))


def build_judge_body(settings: JudgeSettings, prompt: str) -> Body:
    """Return the body of a request to the judge, greedily decoded."""
    return build_body(
        settings.judge,
        prompt,
        temperature=0,
        max_tokens=MAX_REPLY_TOKENS,
        seed=1,
        reasoning_effort=settings.reasoning_effort,
    )


def judge_exchange(settings: JudgeSettings, request: JudgeRequest) -> Exchange[list[str]]:
    """Make one request, a prompt after the other, so that two equal ones are paid for once; return the texts
    of the replies.
    """
    texts = []
    for prompt in request.prompts:
        answer = yield build_judge_body(settings, prompt)
        texts.append(answer.text)
    return texts


def explain_judging(settings: JudgeSettings, limits: ProviderLimits, requests: Sequence[JudgeRequest]) -> str:
    """Return in a few lines what the judgements that are still to be asked for will cost.

    Raises:
        StudyError: the price is unknown and no cap in tokens is given.
    """
    journal = build_journal(settings)
    prompts = {prompt for request in requests for prompt in request.prompts}
    missing = [prompt for prompt in prompts if journal.find(build_judge_body(settings, prompt)) is None]
    tokens = (
        sum(len(prompt.encode()) for prompt in missing) / BYTES_PER_TOKEN,
        len(missing) * len(RATINGS_EXAMPLE) / BYTES_PER_TOKEN,
    )
    return explain_estimate(
        journal, limits, (len(missing), len(prompts)), tokens, "lower `n_items`, or name a cheaper judge"
    )


def parse_ratings(reply: str) -> dict[str, int | None]:
    """Return the three ratings of a reply, all None unless each is a whole number from 1 to 5."""
    found = find_json_object(cut_reasoning(reply))
    valid = all(type(found.get(aspect)) is int and 1 <= found[aspect] <= 5 for aspect in ASPECTS)
    return {aspect: found[aspect] if valid else None for aspect in ASPECTS}


def parse_preference(reply: str) -> str | None:
    """Return 'A', 'B' or 'tie', or None where the reply is none of them."""
    better = find_json_object(cut_reasoning(reply)).get("better")
    return better if better in ("A", "B", "tie") else None


def show_item_asked(prepared: PreparedTask, item: BenchmarkItem) -> str:
    """Return task, input and first reference of an item, as the judge sees them."""
    task = prepared.task
    return f"Task: {task.instruction}\n\nInput:\n{task.show(item)}\n\nReference:\n{item.references[0]}"


def judge_texts(
    judge: JudgeSettings,
    settings: EvaluationSettings,
    evaluation: Run,
    data: Path | None = None,
    limits: ProviderLimits | None = None,
) -> Run:
    """Have every generated text of an evaluation rated.

    Returns:
        A run with `measured.jsonl`: task, item, coherence, completeness, naturalness (1..5, or None where the
        reply had no ratings).
    """

    def compute(folder: Path) -> dict[str, Any]:
        return ask_judge(
            folder,
            judge,
            limits,
            list_rating_requests(settings, evaluation, data),
            lambda texts: parse_ratings(*texts),
        )

    return run_stage("judge", judge, {"evaluation": evaluation.fingerprint}, VERSION, compute)


def judge_pairs(
    judge: JudgeSettings,
    settings: EvaluationSettings,
    first: Run,
    second: Run,
    data: Path | None = None,
    limits: ProviderLimits | None = None,
) -> Run:
    """Have the texts of two evaluations compared, each pair in both orders.

    Returns:
        A run with `measured.jsonl`: task, item, preference (1 if the first is better in both orders, 0 if the
        second is, 0.5 for ties and for judgements that change with the order; None where a reply had none)
        and agrees (whether both orders name the same text or a tie). Two equal texts are a tie without a
        judge; they say nothing of the order, so `agrees` is None.
    """

    def compute(folder: Path) -> dict[str, Any]:
        return ask_judge(
            folder,
            judge,
            limits,
            list_pair_requests(settings, first, second, data),
            lambda texts: combine_orders(*map(parse_preference, texts)) if texts else EQUAL_TEXTS,
        )

    inputs = {"first": first.fingerprint, "second": second.fingerprint}
    return run_stage("judge_pairs", judge, inputs, VERSION, compute)


def ask_judge(
    folder: Path,
    judge: JudgeSettings,
    limits: ProviderLimits | None,
    requests: list[JudgeRequest],
    read: Callable[[list[str]], Row],
) -> dict[str, Any]:
    """Ask the judge and write what `read` makes of its replies; returns the facts for the manifest."""
    limits = limits or ProviderLimits()
    check_judge(judge, limits)
    journal, rows, n_unparsed = build_journal(judge), [], 0
    asked = (judge_exchange(judge, request) for request in requests if request.prompts)
    replies = ask_live(asked, journal, limits)
    steps = track(f"ask {judge.judge}", len(requests), "judgements")
    with journal.lock(), steps as advance, closing(replies):
        for request in requests:
            texts = next(replies) if request.prompts else []
            judgement = read(texts)
            n_unparsed += set(judgement.values()) == {None}
            rows.append({"task": request.task, "item": request.item} | judgement)
            advance()
    if rows and n_unparsed == len(rows):
        raise StudyError(
            f"None of the {len(rows)} judgements of the {journal.model.label} could be read. The last reply "
            f"was {quote_line(texts[0], 120)!r}. The replies are kept; name a judge that answers in the form "
            f"that is asked for, within {MAX_REPLY_TOKENS} tokens. One that reasons may use them up before "
            "it writes: a lower `--judge-effort` leaves more of them."
        )
    write_text(folder / MEASURED, dump_rows(rows))
    return {"n_items": len(rows), "n_unparsed": n_unparsed}


def list_rating_requests(
    settings: EvaluationSettings, evaluation: Run, data: Path | None = None
) -> list[JudgeRequest]:
    """Return the request for ratings of every generated text."""
    texts = read_texts(evaluation)
    return [
        JudgeRequest(*key, (f"{RATING_REQUEST}{show_item_asked(prepared, item)}\n\nText:\n{texts[key]}",))
        for prepared, item in list_items(settings, data)
        for key in [(prepared.task.name, item.id)]
    ]


def list_pair_requests(
    settings: EvaluationSettings, first: Run, second: Run, data: Path | None = None
) -> list[JudgeRequest]:
    """Return the requests that compare two generated texts of every item, in both orders; without a prompt
    where the texts are equal.
    """
    texts, others = read_texts(first), read_texts(second)
    return [
        JudgeRequest(
            *key,
            (
                _show_pair(prepared, item, texts[key], others[key]),
                _show_pair(prepared, item, others[key], texts[key]),
            )
            if texts[key] != others[key]
            else (),
        )
        for prepared, item in list_items(settings, data)
        for key in [(prepared.task.name, item.id)]
    ]


def _show_pair(prepared: PreparedTask, item: BenchmarkItem, text: str, other: str) -> str:
    return f"{PREFERENCE_REQUEST}{show_item_asked(prepared, item)}\n\nText A:\n{text}\n\nText B:\n{other}"


def combine_orders(straight: str | None, swapped: str | None) -> Row:
    """Combine the preferences of both orders; in the swapped one, A is the second text."""
    if straight is None or swapped is None:
        return {"preference": None, "agrees": None}
    agrees = straight == {"A": "B", "B": "A", "tie": "tie"}[swapped]
    return {"preference": {"A": 1.0, "B": 0.0, "tie": 0.5}[straight] if agrees else 0.5, "agrees": agrees}


def list_items(
    settings: EvaluationSettings, data: Path | None
) -> Iterator[tuple[PreparedTask, BenchmarkItem]]:
    """Yield every item of the generation tasks with its task."""
    yield from (
        (prepared, item)
        for prepared in prepare_tasks(settings, data)
        if prepared.task.category == JUDGED_CATEGORY
        for item in prepared.items
    )


def read_texts(evaluation: Run) -> dict[tuple[str, str], str]:
    """Return the written answers of an evaluation, as they were scored, by task and item."""
    rows = read_json_lines(evaluation.file(ITEMS))
    return {(row["task"], row["item"]): row["answer"] for row in rows if "answer" in row}
