"""Rows of the study's files: their schemas."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Category = Literal["qa", "ie", "gen", "other"]
Difficulty = Literal["easy", "medium", "hard"]
ItemDifficulty = Literal["easy", "medium", "hard", "unrated"]
Split = Literal["train", "test"]


def check_text(text: str) -> str:
    """Return a text as it is; an empty one, or one of white space alone, is a ValueError."""
    if not text.strip():
        raise ValueError("must hold a text that is not empty")
    return text


Text = Annotated[str, AfterValidator(check_text)]
Option = Annotated[Text, AfterValidator(str.strip)]  # white space around it would be scored with it
CATEGORIES: tuple[str, ...] = ("qa", "ie", "gen", "other")
BASE, ALL, SHUFFLED, GENERAL = "base", "all", "shuffled", "general"
# The cell "all" has rows of every category in its natural share, "other" too; it is not the mixture of equal
# parts, qa+ie+gen.
RESERVED = (BASE, ALL, SHUFFLED, GENERAL)  # names of cells that are not categories
CONTROL_SEPARATOR = "~"  # between the name of a cell and the kind of its control
HELD_OUT_PREFIX = "held_out_"  # of a category's name: the task whose items are its held-out rows
CATEGORY_PATTERN = r"\w[\w-]*"  # a category of a user's file: names of cells and files are made of it
MAX_CATEGORY_LETTERS = 40  # letters of it


def check_category(name: str) -> str:
    """Return a category's name, its letters composed (NFC), so that one that looks the same is the same; a
    name that is too long or of other signs than `CATEGORY_PATTERN` has, or one that a cell has already, in
    whatever case, is a ValueError.
    """
    name = unicodedata.normalize("NFC", name)
    if len(name) > MAX_CATEGORY_LETTERS:
        raise ValueError(
            f"a category's name has {MAX_CATEGORY_LETTERS} letters at most, and this one has {len(name)}"
        )
    if not re.fullmatch(CATEGORY_PATTERN, name):
        raise ValueError("a category's name has letters, digits, `_` and `-` only")
    if name.casefold() in RESERVED:
        raise ValueError(f"a category cannot be called {', '.join(RESERVED[:-1])} or {RESERVED[-1]}")
    return name


def order_categories(names: Iterable[str]) -> tuple[str, ...]:
    """Return names of categories, each once: the study's own first, in its order, then others by name."""
    own = {name: number for number, name in enumerate(CATEGORIES)}
    return tuple(sorted(set(names), key=lambda name: (own.get(name, len(own)), name)))


AnyCategory = Annotated[str, AfterValidator(check_category)]


class StrictRecord(BaseModel):
    """A line of a file that people write: unknown fields are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SeedTask(StrictRecord):
    """One of the curated tasks shown to the teacher (`seeds/seed_tasks.jsonl`)."""

    id: Annotated[str, Field(pattern=r"^seed-\d{3}$")]
    category: Category
    skill: Text
    specialty: Text
    difficulty: Difficulty
    instruction: Text
    input: str
    output: Text
    note: Text


class Usage(StrictRecord):
    """Tokens that a server billed."""

    input_tokens: Annotated[int, Field(ge=0)]
    output_tokens: Annotated[int, Field(ge=0)]


class TeacherReply(StrictRecord):
    """A teacher's reply to one request (`seeds/teacher_replies.jsonl` and the replies of a live run).

    `categories` holds the teacher's label of each item by its number; `source` says who wrote the reply, for
    a live teacher the snapshot of the model; `usage` counts the tokens of the request and of its labels,
    where a server billed any; `label_finish_reason` says how a second reply, with the labels, ended.
    """

    request: Annotated[int, Field(ge=0)]
    seed_ids: tuple[str, ...]
    prompt_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    source: Text
    finish_reason: Literal["stop", "length", "content_filter", "other"]
    text: str
    categories: dict[int, Category]
    usage: Usage | None = None
    label_finish_reason: Literal["stop", "length", "content_filter", "other"] | None = None


class Instruction(BaseModel):
    """A training row: (instruction, input, output) with its category, which may have any name of letters,
    digits, `_` and `-`; further fields of foreign files are left aside.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str
    category: AnyCategory
    instruction: Text
    input: Annotated[str, BeforeValidator(lambda value: "" if value is None else value)] = ""
    output: Text


class Item(StrictRecord):
    """What every item of a benchmark says of itself.

    The split 'train' is the pool of the solved example that a prompt may show; no model is ever tuned on it.
    """

    id: Text
    split: Split
    difficulty: ItemDifficulty = "unrated"


def refuse_boolean(value: Any) -> Any:
    """Return a value as it is; true or false is a ValueError: as a number, true would be the second option,
    which may be 'no'.
    """
    if isinstance(value, bool):
        raise ValueError("must be the number of the right option, counted from 0, and not true or false")
    return value


class ChoiceItem(Item):
    """A benchmark item with listed options; `answer` is the 0-based index of the right one."""

    context: str
    question: Text
    options: Annotated[list[Option], Field(min_length=2, max_length=52)]  # as many as there are letters
    answer: Annotated[int, BeforeValidator(refuse_boolean), Field(ge=0)]

    @model_validator(mode="after")
    def _check_options(self) -> ChoiceItem:
        if self.answer >= len(self.options):
            raise ValueError(f"`answer` must be below the number of options ({len(self.options)})")
        if len(set(self.options)) < len(self.options):
            raise ValueError("`options` must differ from each other")
        return self


class Mention(StrictRecord):
    """The acceptable spellings of one mention, the first as written in the text."""

    forms: Annotated[list[Text], Field(min_length=1)]


class MentionsItem(Item):
    """A text and every mention of one kind in it, such as its diseases."""

    text: Text
    gold: Annotated[list[Mention], Field(min_length=1)]

    @model_validator(mode="after")
    def _check_spans(self) -> MentionsItem:
        for mention in self.gold:
            require_span(mention.forms[0], self.text)
        return self


class OptionalMentionsItem(MentionsItem):
    """A text and every mention of one kind in it, of which there may be none."""

    gold: list[Mention]


class Medication(Mention):
    """A medication and its status in a note; `forms` are its acceptable spellings, the first as written in
    the text.
    """

    status: Literal["active", "discontinued", "neither"]


class MedicationItem(MentionsItem):
    """A note snippet and every medication it names."""

    gold: Annotated[list[Medication], Field(min_length=1)]


class PronounItem(Item):
    """A note snippet, a pronoun in it and what the pronoun stands for."""

    text: Text
    pronoun: Text
    gold: Mention

    @model_validator(mode="after")
    def _check_spans(self) -> PronounItem:
        require_span(self.pronoun, self.text)
        require_span(self.gold.forms[0], self.text)
        return self


class DialogueItem(Item):
    """A dialogue and the note section that a clinician would write from it."""

    section: Text
    text: Text
    references: Annotated[list[Text], Field(min_length=1)]


class QuestionItem(Item):
    """A patient's question and one or more good answers."""

    text: Text
    references: Annotated[list[Text], Field(min_length=1)]


BenchmarkItem = ChoiceItem | MedicationItem | MentionsItem | PronounItem | DialogueItem | QuestionItem


def require_span(span: str, text: str) -> None:
    """Raise ValueError unless `span` stands in `text`, case aside."""
    if span.lower() not in text.lower():
        raise ValueError(f"{span!r} must occur in the text of its item")
