"""The synthesis stage: requests, kept replies, filters and the instruction file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from helpers.paths import SEEDS, runs_folder
from helpers.progress import track
from helpers.records import SeedTask, TeacherReply, dump_row, dump_rows, read_rows
from helpers.settings import parameter
from helpers.store import Run, run_stage, sha256_file, sha256_text, write_text
from helpers.synthesis.draws import draw_seeds
from helpers.synthesis.filters import find_fault, novelty_check
from helpers.synthesis.parsing import parse_reply
from helpers.synthesis.prompts import build_request
from helpers.synthesis.teacher import RECORDED, REPLIES, Ask, live_teacher, replay_teacher

SEED_TASKS = SEEDS / "seed_tasks.jsonl"
INSTRUCTIONS = "instructions.jsonl"
CODE = (*(f"synthesis/{name}.py" for name in ("draws", "filters", "parsing", "pipeline", "prompts", "teacher")), "rouge.py")


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
        A run with `replies.jsonl`, `tasks.jsonl` (every parsed task, with the reason for which it fell, if any) and `instructions.jsonl`
        (what was kept).
    """
    seeds = {seed.id: seed for seed in read_rows(SEED_TASKS, SeedTask)}
    inputs = {SEED_TASKS.name: sha256_file(SEED_TASKS)}
    if settings.teacher == RECORDED:
        inputs[REPLIES.name] = sha256_file(REPLIES)

    def compute(folder: Path) -> dict[str, Any]:
        replies = list(collect_replies(settings, seeds))
        tasks = list(filter_tasks(settings, replies))
        kept = [_instruction_row(task) for task in tasks if task["reason"] is None]
        write_text(folder / "replies.jsonl", dump_rows(replies))
        write_text(folder / "tasks.jsonl", dump_rows(tasks))
        write_text(folder / INSTRUCTIONS, dump_rows(kept))
        return {"n_tasks": len(tasks), "n_kept": len(kept)}

    return run_stage("synthesis", settings, inputs, CODE, compute)


def collect_replies(settings: SynthesisSettings, seeds: dict[str, SeedTask]) -> Iterator[TeacherReply]:
    """Yield the reply to each request; a live teacher's is on disk before it is used, and one that is there already is not asked for again.

    Replies are kept by what was asked (teacher, server, temperature, request, prompt), so that other filters or more requests pay for nothing twice.
    """
    ask: Ask | None = None
    with track(f"ask {settings.teacher} teacher", settings.n_requests, "requests") as advance:
        for request in range(settings.n_requests):
            seed_ids = draw_seeds(seeds, settings.draw_seed, request)
            prompt = build_request([seeds[seed_id] for seed_id in seed_ids])
            kept = reply_file(settings, request, prompt)
            if settings.teacher != RECORDED and kept.is_file():
                reply = read_rows(kept, TeacherReply)[0]
            else:
                ask = ask or _choose_teacher(settings)
                reply = ask(request, seed_ids, prompt)
                if settings.teacher != RECORDED:
                    write_text(kept, dump_row(reply))
            advance()
            yield reply


def reply_file(settings: SynthesisSettings, request: int, prompt: str) -> Path:
    """Return where the reply of a live teacher to one request is kept."""
    asked = json.dumps([settings.teacher, settings.teacher_url, settings.temperature, request, prompt])
    return runs_folder() / "replies" / f"{sha256_text(asked)[:16]}.jsonl"


def _choose_teacher(settings: SynthesisSettings) -> Ask:
    if settings.teacher == RECORDED:
        return replay_teacher()
    return live_teacher(settings.teacher, settings.teacher_url, settings.temperature)


def filter_tasks(settings: SynthesisSettings, replies: list[TeacherReply]) -> Iterator[dict[str, Any]]:
    """Yield every task of the replies, in order, with `reason` None for those that are kept and its highest similarity to an earlier kept one."""
    is_novel = novelty_check(settings.novelty_threshold)
    for reply in replies:
        for task in parse_reply(reply.text, reply.finish_reason):
            category, similarity = reply.categories.get(task.number), None
            reason = find_fault(task, settings.min_words, settings.max_words) or (None if category else "unlabelled")
            if reason is None:
                new, similarity = is_novel(task.instruction)
                reason = None if new else "not novel"
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
