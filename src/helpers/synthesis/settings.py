"""The parameters of the synthesis."""

from __future__ import annotations

import dataclasses

from helpers.errors import StudyError
from helpers.provider.urls import check_address, check_name
from helpers.settings import parameter
from helpers.synthesis.requests import LIST, REPLY_FORMATS

RECORDED = "recorded"
TEACHER, CLASSIFIER = "teacher", "classifier"
LABELLERS = (TEACHER, CLASSIFIER)


@dataclasses.dataclass(frozen=True)
class FilterSettings:
    """What an instruction must be to be kept."""

    novelty_threshold: float = parameter(
        0.7, "ROUGE-L F1 from which an instruction counts as known", minimum=0, maximum=1
    )
    min_words: int = parameter(3, "fewest words of an instruction", minimum=1)
    max_words: int = parameter(150, "most words of an instruction", minimum=1)


@dataclasses.dataclass(frozen=True)
class SynthesisSettings(FilterSettings):
    """Parameters of the synthesis; the defaults are the paper's where it states them."""

    teacher: str = parameter(RECORDED, "'recorded': replies written for this project; or a live model's name")
    teacher_url: str = parameter("", "its OpenAI-compatible server; empty: the provider's")
    temperature: float = parameter(0.7, "sampling temperature of a live teacher", minimum=0)
    reasoning_effort: str = parameter(
        "", "of a live teacher that reasons ('none', 'low', ...); empty: not sent"
    )
    reply_format: str = parameter(
        LIST, "'list' as in the paper, or 'json' by a schema that the server enforces"
    )
    labeller: str = parameter(
        TEACHER, "who gives a live teacher's tasks their categories: 'teacher' or 'classifier'"
    )
    draw_seed: int = parameter(2024, "random seed of the draws of seed tasks")
    n_requests: int = parameter(48, "requests to the teacher, 17 new tasks each", minimum=1, maximum=10**6)
    target_rows: int = parameter(0, "stop once so many rows are kept; 0: after n_requests", minimum=0)

    @property
    def asks_for_labels(self) -> bool:
        """Whether a second request asks the teacher for the categories of the first one's tasks."""
        return self.reply_format == LIST and self.labeller == TEACHER


def check_synthesis_settings(settings: SynthesisSettings) -> None:
    """Raise StudyError where a setting is none of its values, or the teacher's address is none."""
    check_name("teacher", settings.teacher)
    if not settings.teacher.strip():
        raise StudyError(f"`teacher` must be {RECORDED!r} or the name of a model, but nothing was given.")
    check_address("teacher_url", settings.teacher_url)
    for name, allowed in {"reply_format": REPLY_FORMATS, "labeller": LABELLERS}.items():
        value = getattr(settings, name)
        if value not in allowed:
            raise StudyError(
                f"`{name}` must be one of {', '.join(map(repr, allowed))}, but {value!r} was found."
            )
