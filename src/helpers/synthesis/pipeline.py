"""The synthesis stage: requests, journal, filters and the instruction file."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from helpers.paths import SEEDS
from helpers.progress import track
from helpers.records import SeedTask, TeacherReply, dump_row, dump_rows, read_rows
from helpers.settings import parameter
from helpers.store import Run, run_stage, sha256_file, write_text
from helpers.synthesis.draws import draw_seeds
from helpers.synthesis.filters import find_fault, novelty_check
from helpers.synthesis.parsing import parse_reply
from helpers.synthesis.prompts import build_request
from helpers.synthesis.teacher import RECORDED, REPLIES, Ask, live_teacher, replay_teacher

SEED_TASKS = SEEDS / "seed_tasks.jsonl"
INSTRUCTIONS = "instructions.jsonl"


@dataclasses.dataclass(frozen=True)
class SynthesisSettings:
    """Parameters of the synthesis; the defaults are the paper's where it states them."""

    teacher: str = parameter(RECORDED, "'recorded', or the name of a live model")
    teacher_url: str = parameter("", "its OpenAI-compatible server; empty: the provider's")
    temperature: float = parameter(0.7, "sampling temperature of a live teacher", minimum=0)
    draw_seed: int = parameter(2024, "seed of the draws of seed tasks")
    n_requests: int = parameter(48, "requests to the teacher, 17 new tasks each", minimum=1)
    novelty_threshold: float = parameter(0.7, "ROUGE-L F1 from which an instruction counts as known", minimum=0)
    min_words: int = parameter(3, "fewest words of an instruction", minimum=1)
    max_words: int = parameter(150, "most words of an instruction", minimum=1)


def synthesize(settings: SynthesisSettings) -> Run:
    """Make the instruction data: ask the teacher, parse, filter, label.

    Returns:
        A run with `replies.jsonl` (the journal), `tasks.jsonl` (every parsed task, with the reason for which it fell, if any) and `instructions.jsonl`
        (what was kept).
    """
    seeds = {seed.id: seed for seed in read_rows(SEED_TASKS, SeedTask)}
    inputs = {SEED_TASKS.name: sha256_file(SEED_TASKS)}
    if settings.teacher == RECORDED:
        inputs[REPLIES.name] = sha256_file(REPLIES)

    def compute(folder: Path) -> dict[str, Any]:
        replies = list(collect_replies(settings, seeds, folder / "replies.jsonl"))
        tasks = list(filter_tasks(settings, replies))
        kept = [_instruction_row(task) for task in tasks if task["reason"] is None]
        write_text(folder / "tasks.jsonl", dump_rows(tasks))
        write_text(folder / INSTRUCTIONS, dump_rows(kept))
        return {"n_tasks": len(tasks), "n_kept": len(kept)}

    return run_stage("synthesis", settings, inputs, ("synthesis", "rouge.py"), compute)


def collect_replies(settings: SynthesisSettings, seeds: dict[str, SeedTask], journal: Path) -> Iterator[TeacherReply]:
    """Yield the reply to each request; each is on disk before it is used, and one that the journal holds is not asked for again."""
    known = {reply.request: reply for reply in read_journal(journal)}
    ask: Ask | None = None
    with track(f"ask {settings.teacher} teacher", settings.n_requests, "requests") as advance:
        for request in range(settings.n_requests):
            if request not in known:
                ask = ask or _choose_teacher(settings)
                seed_ids = draw_seeds(seeds, settings.draw_seed, request)
                reply = ask(request, seed_ids, build_request([seeds[seed_id] for seed_id in seed_ids]))
                append_row(journal, reply)
                known[request] = reply
            advance()
            yield known[request]


def _choose_teacher(settings: SynthesisSettings) -> Ask:
    if settings.teacher == RECORDED:
        return replay_teacher()
    return live_teacher(settings.teacher, settings.teacher_url, settings.temperature)


def read_journal(journal: Path) -> list[TeacherReply]:
    """Read the replies of an interrupted run; a last line that broke off in writing is taken away."""
    if not journal.exists():
        return []
    text = journal.read_text(encoding="utf-8", errors="replace")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        write_text(journal, whole)
    return read_rows(journal, TeacherReply) if whole else []


def append_row(path: Path, row: TeacherReply) -> None:
    """Append a row and wait until it is on disk."""
    with path.open("a", encoding="utf-8") as file:
        file.write(dump_row(row))
        file.flush()
        os.fsync(file.fileno())


def filter_tasks(settings: SynthesisSettings, replies: list[TeacherReply]) -> Iterator[dict[str, Any]]:
    """Yield every task of the replies, in order, with `reason` None for those that are kept and its highest similarity to an earlier kept one."""
    is_novel = novelty_check(settings.novelty_threshold)
    for reply in replies:
        for task in parse_reply(reply.text, reply.finish_reason):
            reason, similarity = find_fault(task, settings.min_words, settings.max_words), None
            if reason is None:
                new, similarity = is_novel(task.instruction)
                reason = None if new else "not novel"
            category = reply.categories.get(task.number)
            if reason is None and category is None:
                reason = "unlabelled"
            yield {
                "id": f"r{reply.request:05d}-{task.number:02d}",
                "request": reply.request,
                "seed_ids": list(reply.seed_ids),
                "source": reply.source,
                "category": category,
                "reason": reason,
                "similarity": similarity,
                "instruction": task.instruction,
                "input": task.input,
                "output": task.output,
            }


def _instruction_row(task: dict[str, Any]) -> dict[str, Any]:
    return {name: task[name] for name in ("id", "category", "instruction", "input", "output", "request", "seed_ids", "source")}
