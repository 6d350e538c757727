"""A language model as judge of generated texts: marks for each text, and preferences between two, asked in both orders.

The judge is any model behind an OpenAI-compatible server. It must be named, and must not be the teacher whose manner the tuned model has learnt: models mark
their own kind up (Panickssery et al., 2024). Every reply is on disk before it is used and is never asked for twice. A reply that is not what was asked for
gives no mark.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import StudyError
from helpers.evaluation.metrics import first_part
from helpers.evaluation.stage import ITEMS, MEASURED, EvaluationSettings, Exam, prepare_exams
from helpers.paths import runs_folder
from helpers.progress import track
from helpers.records import BenchmarkItem, dump_rows, find_json_object, read_json_lines
from helpers.settings import parameter
from helpers.store import Run, run_stage, sha256_text, write_text

if TYPE_CHECKING:
    from openai import OpenAI

ASPECTS = ("coherence", "completeness", "naturalness")
MAX_REPLY_TOKENS = 400
MARKS_REQUEST = (
    "You assess a text that was written for a biomedical task. Give three marks, each a whole number from 1 (very poor) to 5 (excellent).\n"
    "coherence: the text is well ordered and does not contradict itself or the task.\n"
    "completeness: the text holds what matters in the reference.\n"
    "naturalness: the text reads as if a careful clinician had written it.\n"
    'Reply with a JSON object such as {"coherence": 3, "completeness": 3, "naturalness": 3}, and nothing else.\n\n'
)
PREFERENCE_REQUEST = (
    "Two texts, A and B, were written for the same biomedical task. Say which serves it better, judged by coherence, completeness with respect to the "
    'reference, and naturalness. Reply with a JSON object, {"better": "A"}, {"better": "B"} or {"better": "tie"}, and nothing else.\n\n'
)

Ask = Callable[[str], str]


@dataclasses.dataclass(frozen=True)
class JudgeSettings:
    """Parameters of a judge; there is no default model."""

    judge: str = parameter("", "model that judges, as its server knows it")
    judge_url: str = parameter("", "address of an OpenAI-compatible server; empty: the provider's own")
    teacher: str = parameter("recorded", "model that wrote the training data; the judge must be another one")


def check_judge(settings: JudgeSettings) -> None:
    """Raise StudyError if no judge is named, it is the teacher, or no key is set for the provider's own server."""
    if not settings.judge:
        raise StudyError("`judge` must name a model, but none was found. There is no default: who judges is a part of the result.")
    if settings.judge == settings.teacher:
        raise StudyError(f"`judge` must not be the teacher, but {settings.judge!r} was found for both. Name a model of another maker.")
    if not settings.judge_url and not os.environ.get("OPENAI_API_KEY"):
        raise StudyError(f"`judge` is {settings.judge!r}, but OPENAI_API_KEY is not set. Set it in the environment, or name your own server (`judge_url`).")


def open_judge(settings: JudgeSettings) -> Ask:
    """Return the function that sends a prompt to the judge, greedily decoded, and keeps the reply; a reply that is kept is not asked for again.

    The key comes from the environment (`OPENAI_API_KEY`) and goes nowhere else.

    Raises:
        StudyError: the settings cannot be used (`check_judge`), or the server does not answer.
    """
    from openai import OpenAI

    check_judge(settings)
    client = OpenAI(base_url=settings.judge_url or None, api_key=os.environ.get("OPENAI_API_KEY", "none"))

    def ask(prompt: str) -> str:
        kept = runs_folder() / "judgements" / f"{sha256_text(json.dumps([settings.judge, settings.judge_url, prompt]))[:16]}.json"
        if not kept.is_file():
            write_text(kept, json.dumps({"judge": settings.judge, "prompt": prompt, "reply": _complete(client, settings.judge, prompt)}))
        return json.loads(kept.read_text(encoding="utf-8"))["reply"]

    return ask


def _complete(client: OpenAI, judge: str, prompt: str) -> str:
    from openai import OpenAIError

    try:
        answer = client.chat.completions.create(
            model=judge, messages=[{"role": "user", "content": prompt}], temperature=0, max_completion_tokens=MAX_REPLY_TOKENS, seed=1
        )
    except OpenAIError as error:
        raise StudyError(f"The judge {judge!r} did not answer: {error} Replies so far are kept: mend the cause, run again.") from None
    return answer.choices[0].message.content or ""


def parse_marks(reply: str) -> dict[str, int | None]:
    """Return the three marks of a reply, all None unless each is a whole number from 1 to 5."""
    found = find_json_object(reply)
    valid = all(type(found.get(aspect)) is int and 1 <= found[aspect] <= 5 for aspect in ASPECTS)
    return {aspect: found[aspect] if valid else None for aspect in ASPECTS}


def parse_preference(reply: str) -> str | None:
    """Return 'A', 'B' or 'tie', or None where the reply is none of them."""
    better = find_json_object(reply).get("better")
    return better if better in ("A", "B", "tie") else None


def show_case(exam: Exam, item: BenchmarkItem) -> str:
    """Return task, input and first reference of an item, as the judge sees them."""
    return f"Task: {exam.task.instruction}\n\nInput:\n{exam.task.show(item)}\n\nReference:\n{item.references[0]}"


def judge_texts(judge: JudgeSettings, settings: EvaluationSettings, evaluation: Run, data: Path | None = None) -> Run:
    """Have every generated text of an evaluation marked.

    Returns:
        A run with `measured.jsonl`: task, item, coherence, completeness, naturalness (1..5, or None where the reply had no marks).
    """

    def compute(folder: Path) -> dict[str, Any]:
        ask = open_judge(judge)
        cases = list(list_cases(settings, data))
        texts = read_texts(evaluation)
        rows = []
        with track(f"ask {judge.judge}", len(cases), "texts") as advance:
            for exam, item in cases:
                prompt = f"{MARKS_REQUEST}{show_case(exam, item)}\n\nText:\n{texts[exam.task.name, item.id]}"
                rows.append({"task": exam.task.name, "item": item.id} | parse_marks(ask(prompt)))
                advance()
        write_text(folder / MEASURED, dump_rows(rows))
        return {"n_items": len(rows), "n_unparsed": sum(row[ASPECTS[0]] is None for row in rows)}

    return run_stage("judge", judge, {"evaluation": evaluation.fingerprint}, ("evaluation/judge.py",), compute)


def judge_pairs(judge: JudgeSettings, settings: EvaluationSettings, first: Run, second: Run, data: Path | None = None) -> Run:
    """Have the texts of two evaluations compared, each pair in both orders.

    Returns:
        A run with `measured.jsonl`: task, item, preference (1 if the first is better in both orders, 0 if the second is, 0.5 for ties and for judgements that
        turn with the order; None where a reply had none) and agrees (whether both orders name the same text or a tie).
    """

    def compute(folder: Path) -> dict[str, Any]:
        ask = open_judge(judge)
        cases = list(list_cases(settings, data))
        texts, others = read_texts(first), read_texts(second)
        rows = []
        with track(f"ask {judge.judge}", len(cases), "pairs") as advance:
            for exam, item in cases:
                key = exam.task.name, item.id
                replies = [ask(_show_pair(exam, item, *pair)) for pair in ((texts[key], others[key]), (others[key], texts[key]))]
                rows.append({"task": key[0], "item": key[1]} | combine_orders(*map(parse_preference, replies)))
                advance()
        write_text(folder / MEASURED, dump_rows(rows))
        return {"n_items": len(rows), "n_unparsed": sum(row["preference"] is None for row in rows)}

    return run_stage("judge_pairs", judge, {"first": first.fingerprint, "second": second.fingerprint}, ("evaluation/judge.py",), compute)


def _show_pair(exam: Exam, item: BenchmarkItem, text: str, other: str) -> str:
    return f"{PREFERENCE_REQUEST}{show_case(exam, item)}\n\nText A:\n{text}\n\nText B:\n{other}"


def combine_orders(straight: str | None, turned: str | None) -> dict[str, Any]:
    """Combine the preferences of both orders; in the turned one, A is the second text."""
    if straight is None or turned is None:
        return {"preference": None, "agrees": None}
    agrees = straight == {"A": "B", "B": "A", "tie": "tie"}[turned]
    return {"preference": {"A": 1.0, "B": 0.0, "tie": 0.5}[straight] if agrees else 0.5, "agrees": agrees}


def list_cases(settings: EvaluationSettings, data: Path | None) -> Iterator[tuple[Exam, BenchmarkItem]]:
    """Yield every item of the generation tasks with its task."""
    yield from ((exam, item) for exam in prepare_exams(settings, data) if exam.task.category == "gen" for item in exam.items)


def read_texts(evaluation: Run) -> dict[tuple[str, str], str]:
    """Return the texts of an evaluation by task and item, up to where a model begins a heading of its own."""
    return {(row["task"], row["item"]): first_part(row["response"]) for row in read_json_lines(evaluation.file(ITEMS))}
