"""Self-check questions at the end of each lesson: read from `seeds/questions.yaml`, shown as options that
unfold and say why they are right or wrong.

Plain HTML: nothing is loaded, no script runs, a keyboard opens an option, and on paper the options stand
without their reasons.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Annotated

import yaml
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from helpers.errors import StudyError
from helpers.paths import SEEDS, shown
from helpers.records import StrictRecord, Text

if TYPE_CHECKING:
    from IPython.display import HTML

QUESTIONS = SEEDS / "questions.yaml"
ADVICE = "Choose an answer. It unfolds and says why it is right or wrong."


class Option(StrictRecord):
    """An answer that can be chosen, and why it is right or wrong."""

    text: Text
    why: Text
    right: bool = False


class Question(StrictRecord):
    """A question with its options, one of which is right."""

    ask: Text
    options: Annotated[list[Option], Field(min_length=2)]

    @model_validator(mode="after")
    def check_right(self) -> Question:
        """Refuse a question with no right option, or with several."""
        if sum(option.right for option in self.options) != 1:
            raise ValueError("one option must be right")
        return self


def read_questions() -> dict[str, list[Question]]:
    """Return the questions of each lesson by its number ('01').

    Raises:
        StudyError: the file is not YAML, or a question does not fit; names lesson and question.
    """
    try:
        content = yaml.safe_load(QUESTIONS.read_text(encoding="utf-8"))
        return TypeAdapter(dict[str, list[Question]]).validate_python(content)
    except yaml.YAMLError as error:
        raise StudyError(f"{shown(QUESTIONS)} is not valid YAML: {error}. Fix that line.") from None
    except ValidationError as error:
        first = error.errors()[0]
        location = ", ".join(map(str, first["loc"]))
        raise StudyError(
            f"{shown(QUESTIONS)} does not fit at {location}: {first['msg']}. Compare the questions above it."
        ) from None


def ask_questions(lesson: str) -> HTML:
    """Show the questions of a lesson.

    Args:
        lesson: number of its notebook, such as '03'.
    """
    from IPython.display import HTML

    questions = "".join(map(_write_question, read_questions()[lesson]))
    return HTML(
        f'<section class="self-check"><h2>Check yourself</h2><p>{ADVICE}</p><ol>{questions}</ol></section>'
    )


def _write_question(question: Question) -> str:
    options = "".join(
        f"<details><summary>{escape(option.text)}</summary>"
        f"<p><strong>{'Right' if option.right else 'Wrong'}.</strong> {escape(option.why)}</p></details>"
        for option in question.options
    )
    return f"<li><p>{escape(question.ask)}</p>{options}</li>"
