"""The synthesis stage: requests, replies, filters and the instruction file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from helpers.files import sha256_file
from helpers.jsonl import dump_row, read_rows
from helpers.paths import BENCHMARK, SEED_TASKS
from helpers.progress import Advance, track
from helpers.provider.batch import ask_batches
from helpers.provider.exchanges import ask_live
from helpers.provider.journal import Exchange, Journal
from helpers.provider.ledger import ProviderLimits
from helpers.records import SeedTask, TeacherReply
from helpers.store import Run, run_stage
from helpers.synthesis.counts import count_reply, count_wanted
from helpers.synthesis.draws import choose_seed_tasks
from helpers.synthesis.filters import find_fault, read_benchmark_ngrams
from helpers.synthesis.novelty import NoveltyIndex
from helpers.synthesis.parsing import ParsedTask
from helpers.synthesis.requests import N_SHOWN, build_request
from helpers.synthesis.settings import CLASSIFIER, RECORDED, SynthesisSettings, check_synthesis_settings
from helpers.synthesis.teacher import (
    REPLIES,
    ParsedReply,
    build_teacher,
    parse_teacher_reply,
    replay_teacher,
    teacher_exchange,
)

INSTRUCTIONS = "instructions.jsonl"
BENCHMARK_FILES = tuple(sorted(BENCHMARK.glob("*.jsonl")))
VERSION = 4
TASK_FIELDS = (
    "id",
    "request",
    "seed_ids",
    "source",
    "category",
    "reason",
    "similarity",
    "instruction",
    "input",
    "output",
)
Labeller = Callable[[Sequence[ParsedTask]], list[str]]


def synthesize(settings: SynthesisSettings, limits: ProviderLimits | None = None) -> Run:
    """Make the instruction data: ask the teacher, parse, filter, label.

    Rows are written as they come, so that memory does not grow with their number; a run that was killed goes
    through the kept replies again and ends in the same bytes as one that was not.

    Args:
        settings: what is asked and what is kept.
        limits: caps and pace of a live teacher.

    Returns:
        A run with `replies.jsonl`, `tasks.jsonl` (every parsed task, with the reason for which it was
        rejected, if any) and `instructions.jsonl` (what was kept).

    Raises:
        StudyError: a setting is none of its values, the teacher does not answer, or a cap is reached; what
            was answered is kept.
    """
    check_synthesis_settings(settings)
    seeds = read_seed_tasks()
    files = [
        SEED_TASKS,
        *BENCHMARK_FILES,
        *([REPLIES] if settings.teacher == RECORDED or settings.labeller == CLASSIFIER else []),
    ]

    def compute(folder: Path) -> dict[str, Any]:
        lock = nullcontext() if settings.teacher == RECORDED else Journal(build_teacher(settings)).lock()
        with lock, track(f"ask {settings.teacher} teacher", settings.n_requests, "requests") as advance:
            counts: Counter[str] = Counter(n_kept=0, n_tasks=0)
            wanted = partial(count_wanted, settings.target_rows, counts) if settings.target_rows else None
            replies = collect_replies(settings, limits or ProviderLimits(), seeds, wanted)
            with closing(replies):  # whatever ends this block, answers under way are waited for and kept
                return write_rows(folder, TaskFilter(settings, seeds.values()), replies, counts, advance)

    return run_stage(
        "synthesis", settings, {file.name: sha256_file(file) for file in files}, VERSION, compute
    )


def read_seed_tasks() -> dict[str, SeedTask]:
    """Return the project's seed tasks by id, in file order."""
    return {seed.id: seed for seed in read_rows(SEED_TASKS, SeedTask)}


def write_rows(
    folder: Path,
    filter_tasks: TaskFilter,
    replies: Iterator[ParsedReply],
    counts: Counter[str],
    advance: Advance,
) -> dict[str, Any]:
    """Filter replies as they come, write the three files of a run and keep count; returns the facts for its
    manifest.
    """
    target = filter_tasks.settings.target_rows
    names = ("replies.jsonl", "tasks.jsonl", INSTRUCTIONS)
    reply_file, task_file, row_file = ((folder / name).open("w", encoding="utf-8") for name in names)
    with reply_file, task_file, row_file:
        for reply, parsed in replies:
            reply_file.write(dump_row(reply))
            tasks = list(filter_tasks(reply, parsed))
            counts.update(count_reply(reply, parsed, tasks))
            for task in tasks:
                if target and counts["n_kept"] == target:
                    break
                task_file.write(dump_row(task))
                counts["n_tasks"] += 1
                if task["reason"] is None:
                    row_file.write(dump_row(_instruction_row(task, reply)))
                    counts["n_kept"] += 1
            advance(note=f"{counts['n_kept']} rows kept")
            if target and counts["n_kept"] == target:
                break
    return dict(sorted(counts.items()))


def plan_requests(
    settings: SynthesisSettings, seeds: Mapping[str, SeedTask]
) -> Iterator[tuple[int, tuple[str, ...], str]]:
    """Yield number, seed ids and prompt of each request: a pure function of seeds and settings, so any
    can be redone alone.
    """
    for request in range(settings.n_requests):
        seed_ids = choose_seed_tasks(seeds, settings.draw_seed, request, N_SHOWN)
        yield (
            request,
            seed_ids,
            build_request([seeds[seed_id] for seed_id in seed_ids], settings.reply_format),
        )


def build_exchanges(
    settings: SynthesisSettings, seeds: Mapping[str, SeedTask]
) -> Iterator[Exchange[ParsedReply]]:
    """Build the exchange of each request with a live teacher; none has begun."""
    return (
        teacher_exchange(settings, request, seed_ids, prompt)
        for request, seed_ids, prompt in plan_requests(settings, seeds)
    )


def collect_replies(
    settings: SynthesisSettings,
    limits: ProviderLimits,
    seeds: Mapping[str, SeedTask],
    wanted: Callable[[], int] | None = None,
) -> Iterator[ParsedReply]:
    """Yield the reply to each request in order, with its tasks; a live teacher's answers come from the
    journal where they are there already, and no more are asked for ahead than `wanted` says.
    """
    if settings.teacher == RECORDED:
        ask = replay_teacher()
        for reply in (ask(*planned) for planned in plan_requests(settings, seeds)):
            yield ParsedReply(
                reply, parse_teacher_reply(reply.text, reply.finish_reason, settings.reply_format)
            )
        return
    journal = Journal(build_teacher(settings))
    plan = partial(build_exchanges, settings, seeds)
    if limits.batch:
        yield from ask_batches(plan, journal, limits, wanted)
    else:
        yield from ask_live(plan(), journal, limits, wanted)


class TaskFilter:
    """Decides on the tasks of one reply after the other; remembers the instructions it kept."""

    def __init__(self, settings: SynthesisSettings, seeds: Iterable[SeedTask]) -> None:
        self.settings = settings
        self._index = NoveltyIndex(settings.novelty_threshold)
        # a teacher that repeats its examples has written nothing new
        self._index.add(seed.instruction for seed in seeds)
        self._benchmark_ngrams = read_benchmark_ngrams(BENCHMARK_FILES)
        self._labeller: Labeller | None = None
        if settings.labeller == CLASSIFIER and settings.teacher != RECORDED:
            from helpers.synthesis.categories import train_labeller

            self._labeller = train_labeller()

    def __call__(self, reply: TeacherReply, tasks: Sequence[ParsedTask]) -> Iterator[dict[str, Any]]:
        """Yield a row for every parsed task of a reply, with `reason` None for those that are kept and its
        highest similarity to an earlier kept one.
        """
        labels = self._find_labels(reply, tasks)
        reasons = [
            find_fault(task, self.settings.min_words, self.settings.max_words, self._benchmark_ngrams)
            or (None if task.number in labels else "unlabelled")
            for task in tasks
        ]
        decisions = iter(
            self._index.add(
                [task.instruction for task, reason in zip(tasks, reasons, strict=True) if reason is None]
            )
        )
        for task, fault in zip(tasks, reasons, strict=True):
            is_new, similarity = next(decisions) if fault is None else (False, None)
            reason = fault if fault else None if is_new else "not novel"
            yield _task_row(task, reply, labels.get(task.number), reason, similarity)

    def _find_labels(self, reply: TeacherReply, tasks: Iterable[ParsedTask]) -> Mapping[int, str]:
        complete = [task for task in tasks if task.is_complete]
        if self._labeller is None or not complete:
            return reply.categories
        return dict(zip((task.number for task in complete), self._labeller(complete), strict=True))


def _task_row(
    task: ParsedTask, reply: TeacherReply, category: str | None, reason: str | None, similarity: float | None
) -> dict[str, Any]:
    return {
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


def _instruction_row(task: Mapping[str, Any], reply: TeacherReply) -> dict[str, Any]:
    row = {
        name: task[name]
        for name in ("id", "category", "instruction", "input", "output", "request", "seed_ids", "source")
    }
    return row | {
        "prompt_sha256": reply.prompt_sha256,
        "usage": reply.usage.model_dump() if reply.usage else None,
    }
