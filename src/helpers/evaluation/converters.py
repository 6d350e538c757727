"""Rows of public sets in the embedded format: one function a set takes a row of the hub or of the public
release and returns the items that it holds.

A row may hold no item (an empty answer) or several (a case report has many sentences). Rows whose set has no
training part get their split by hash.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

RawRow = Mapping[str, Any]
Items = list[dict[str, Any]]
DECISIONS = ["yes", "no", "maybe"]
BIO_TAGS = dict.fromkeys(("O", "0"), "O") | {
    form: tag for tag, number in (("B", "1"), ("I", "2")) for form in (tag, f"{tag}-DISEASE", number)
}
SECTIONS = {
    "GENHX": "history of present illness",
    "FAM/SOCHX": "family and social history",
    "ROS": "review of systems",
    "PASTMEDICALHX": "past medical history",
    "PASTSURGICAL": "past surgical history",
    "CC": "chief complaint",
    "EDCOURSE": "emergency department course",
    "GYNHX": "gynecologic history",
}


def convert_medqa(row: RawRow) -> Items:
    """MedQA-USMLE with four options: the hub's columns (`sent1`, `ending0`..`ending3`, `label`) or the
    release's (`options`, `answer_idx`).
    """
    if "ending0" in row:
        return [_choice(row, row["sent1"], [row[f"ending{n}"] for n in range(4)], row["label"])]
    letters = sorted(row["options"])
    return [
        _choice(
            row,
            row["question"],
            [row["options"][letter] for letter in letters],
            letters.index(row.get("answer_idx", row["answer"])),
        )
    ]


def convert_medmcqa(row: RawRow, first: int = 0) -> Items:
    """MedMCQA: `opa`..`opd` and `cop`, which counts from `first` (0 on the hub, 1 in the release's files);
    rows without a label (-1, on the hub) hold no item.

    Raises:
        ValueError: a label of another count; the other labels of its file would each be off by one.
    """
    if "options" in row:
        return convert_medqa(row)
    right, options = int(row["cop"]), [row[f"op{letter}"] for letter in "abcd"]
    if right == -1:
        return []
    last = first + len(options) - 1
    if not first <= right <= last:
        raise ValueError(f"`cop` must lie from {first} to {last}, but {right} was found")
    return [_choice(row, row["question"], options, right - first)]


def convert_medmcqa_release(row: RawRow) -> Items:
    """MedMCQA as its own files have it: the right option counts from 1."""
    return convert_medmcqa(row, first=1)


def convert_pubmedqa(row: RawRow) -> Items:
    """PubMedQA, labelled part: the abstract without its conclusion, whole or in parts, the question, yes, no
    or maybe; without a split every row is for testing.
    """
    context = row.get("context") or row["CONTEXTS"]
    parts = context["contexts"] if isinstance(context, Mapping) else context
    answer = row.get("final_decision") or row["answer"]
    item = _choice(
        row,
        row.get("question") or row["QUESTION"],
        DECISIONS,
        DECISIONS.index(answer),
        context=parts if isinstance(parts, str) else " ".join(parts),
    )
    return [item | {"split": "test" if row.get("split", "test") == "test" else "train"}]


def convert_ncbi_disease(row: RawRow, keep_all: bool = False) -> Items:
    """NCBI disease corpus: a sentence as tokens and BIO tags (texts, or 0, 1, 2); sentences that name no
    disease hold no item, unless all are kept.

    Raises:
        ValueError: tags of another kind (other entities, other schemes), of which mentions would be wrong.
    """
    tokens = row["tokens"]
    tags = [BIO_TAGS.get(str(tag).upper()) for tag in row.get("tags", row.get("ner_tags"))]
    if len(tags) != len(tokens) or None in tags or any(pair == ("O", "I") for pair in pairwise(["O", *tags])):
        raise ValueError("each token needs one tag: O, B-Disease, or I-Disease after one of these two")
    mentions = []
    for start in (index for index, tag in enumerate(tags) if tag == "B"):
        end = next((index for index in range(start + 1, len(tokens)) if tags[index] != "I"), len(tokens))
        mentions.append(" ".join(tokens[start:end]))
    return _mentions(" ".join(tokens), mentions, {}, keep_all)


def convert_maccrobat(row: RawRow) -> Items:
    """MACCROBAT: a case report with spans of medications; one item per line of the report (a sentence) that
    names any.

    Raises:
        ValueError: a span does not hold the text that its annotation quotes.
    """
    text = row.get("full_text") or row["text"]
    spans = [
        _span(entity, text)
        for entity in row.get("ner_info", row.get("entities"))
        if entity.get("label", entity.get("type")).lower() == "medication"
    ]
    items: Items = []
    begin = 0
    for line in text.split("\n"):
        named = [
            text[start:end] for start, end in sorted(spans) if begin <= start and end <= begin + len(line)
        ]
        items += _mentions(line, named, {"split": draw_split(str(row.get("id") or text))})
        begin += len(line) + 1
    return items


def convert_craft(row: RawRow) -> Items:
    """CRAFT pronouns with their antecedents; a pronoun that stands in its text more than once is left out,
    since the question would not say which.
    """
    pronoun, text = row["pronoun"], row["context"]
    if len(re.findall(rf"\b{re.escape(pronoun)}\b", text, re.IGNORECASE)) != 1:
        return []
    forms = list(dict.fromkeys([row["antecedent"], *row["all_antecedents"]]))
    split = "test" if row["split"] == "test" else "train"
    return [
        {
            "id": name_row({}, f"{row['doc']} {pronoun} {text}"),
            "text": text,
            "pronoun": pronoun,
            "gold": {"forms": forms},
            "split": split,
        }
    ]


def convert_mts_dialog(row: RawRow) -> Items:
    """MTS-Dialog: a dialogue, the heading of the note's section, the section as written."""
    header = row["section_header"]
    section = SECTIONS.get(header, header.replace("_", " ").lower())
    fields = {"section": section, "text": row["dialogue"], "references": [row["section_text"]]}
    return [{"id": name_row({"id": row.get("ID")}, row["dialogue"])} | fields]


def convert_medquad(row: RawRow) -> Items:
    """MedQuAD: a health question and its answer; answers that were withdrawn hold no item."""
    return _question(row, row["question"], row["answer"])


def convert_icliniq(row: RawRow) -> Items:
    """ICliniq: a patient's question and the physician's answer."""
    return _question(row, row["input"], row["answer_icliniq"])


def draw_split(key: str) -> str:
    """Return 'train' for one key in ten, by hash (sha256), 'test' for the others."""
    return "train" if hashlib.sha256(key.encode()).digest()[0] % 10 == 0 else "test"


def name_row(row: RawRow, text: str) -> str:
    """Return a row's own id, or the first digits of its text's sha256."""
    own = next((row[key] for key in ("id", "pubid") if row.get(key) not in (None, "")), None)
    return str(own) if own is not None else hashlib.sha256(text.encode()).hexdigest()[:12]


def _choice(row: RawRow, question: str, options: list[str], answer: int, context: str = "") -> dict[str, Any]:
    return {
        "id": name_row(row, question),
        "context": context,
        "question": question,
        "options": options,
        "answer": answer,
    }


def _mentions(text: str, mentions: list[str], fields: dict[str, Any], keep_all: bool = False) -> Items:
    unique = {mention.lower(): mention for mention in reversed(mentions)}
    gold = [{"forms": [mention]} for mention in reversed(unique.values())]
    return [{"id": name_row({}, text), "text": text, "gold": gold} | fields] if gold or keep_all else []


def _question(row: RawRow, question: str, answer: str | None) -> Items:
    key = name_row(row, question)
    return (
        [{"id": key, "text": question, "references": [answer], "split": draw_split(key)}]
        if answer and answer.strip()
        else []
    )


def _span(entity: RawRow, text: str) -> tuple[int, int]:
    """Return begin and end of a mention, which may have gaps, in characters of the text."""
    spans = entity["spans"] if "spans" in entity else f"{entity['start']} {entity['end']}"
    numbers = list(map(int, spans.replace(";", " ").split()))
    found = "".join(text[start:end] for start, end in zip(numbers[::2], numbers[1::2], strict=True))
    quoted = entity.get("text")
    if quoted is not None and "".join(found.split()) != "".join(quoted.split()):
        raise ValueError(f"the text was altered: {spans} is now {found[:20]!r}, and was {quoted[:20]!r}")
    return numbers[0], numbers[-1]


def read_bio(text: str) -> Iterator[dict[str, Any]]:
    """Yield the sentences of a file with one `token<TAB>tag` a line and an empty line after each sentence."""
    for block in text.strip().split("\n\n"):
        pairs = [line.split("\t") for line in block.splitlines()]
        yield {"tokens": [pair[0] for pair in pairs], "tags": [pair[-1] for pair in pairs]}


def read_brat(name: str, text: str, annotations: str) -> dict[str, Any]:
    """Return a brat document (`.txt` and `.ann`) as one row with its text-bound annotations."""
    bound = [line.split("\t", 2) for line in annotations.split("\n") if line.startswith("T")]
    entities = [
        dict(zip(("type", "spans"), marked.split(" ", 1), strict=True)) | {"text": quoted}
        for _, marked, quoted in bound
    ]
    return {"id": name, "text": text, "entities": entities}
