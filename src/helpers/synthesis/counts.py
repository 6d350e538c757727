"""What replies yield: rows still to be asked for, and replies that were not what was asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from helpers.provider.text_cleaning import cut_reasoning
from helpers.records import TeacherReply
from helpers.synthesis.parsing import ParsedTask
from helpers.synthesis.requests import N_SHOWN, N_TASKS

N_NEW = N_TASKS - N_SHOWN


def count_wanted(target: int, counts: Mapping[str, int]) -> int:
    """Return how many further replies a target is likely to need, by the rows that a reply has yielded so far
    and, at first, by the most that it can.
    """
    expected = (counts["n_kept"] + N_NEW) / (counts["n_replies"] + 1)
    return math.ceil((target - counts["n_kept"]) / expected)


def count_reply(
    reply: TeacherReply, parsed: Sequence[ParsedTask], tasks: Sequence[Mapping[str, Any]]
) -> dict[str, int]:
    """Return what a reply adds to the counts of a run: itself, its tokens, and the ways in which it was not
    what was asked for, if any.

    Args:
        reply: of the teacher.
        parsed: its tasks as they were cut out of it.
        tasks: the same after the filters, as rows.
    """
    is_trimmed = cut_reasoning(reply.text) != reply.text or any(task.is_trimmed for task in parsed)
    lacks_labels = any(task["reason"] == "unlabelled" for task in tasks)
    return {
        "n_replies": 1,
        "n_input_tokens": reply.usage.input_tokens if reply.usage else 0,
        "n_output_tokens": reply.usage.output_tokens if reply.usage else 0,
        "n_truncated_replies": int(reply.finish_reason == "length"),
        "n_unlabelled_replies": int(lacks_labels or reply.label_finish_reason not in (None, "stop")),
        "n_refused_replies": int(reply.finish_reason == "content_filter"),
        "n_garbled_replies": int(not tasks and reply.finish_reason != "content_filter"),
        "n_miscounted_replies": int(
            bool(tasks) and len(tasks) != N_NEW and reply.finish_reason in ("stop", "other")
        ),
        "n_trimmed_replies": int(is_trimmed),
    }
