"""The pages for a class: their numbers exist, no exercise is forgotten, the opening gives nothing away."""

import re

import nbformat
import pytest

from helpers.book.gallery import GALLERY
from helpers.book.parameters import list_notebooks
from helpers.paths import BOOK

CODE = {
    path.name: "\n".join(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code")
    for path in list_notebooks()
}


def read(page):
    return (BOOK / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", sorted(path.name for path in BOOK.glob("*.md")))
def test_every_number_of_a_page_is_made_in_the_notebook_it_names(page):
    for notebook, name in re.findall(r"\{glue:text\}`(\w+\.ipynb)::(\w+)", read(page)):
        stem = re.sub(r"(_(qa|ie|gen))?(_low|_high)?$", "", name)
        assert any(made in CODE[notebook] for made in (f"{name}=", f'"{stem}_{{', f'"{stem}"')), name


def test_the_marking_names_every_exercise_once():
    labels = {
        label
        for path in list_notebooks()
        for cell in nbformat.read(path, 4).cells
        for label in re.findall(r"^:label: (ex-[\w-]+)$", cell.source, re.MULTILINE)
    }
    marking = read("teaching.md").split("## Marking")[1].split("\n## ")[0]
    marked = re.findall(r"^\| \{ref\}`(ex-[\w-]+)`", marking, re.MULTILINE)
    assert sorted(marked) == sorted(labels)


def test_six_to_eight_slides_show_figures_of_the_book_and_the_first_shows_none():
    _, *slides = read("slides.md").split("\n## ")
    figures = [re.findall(r"\{image\} figures/(\w+)\.svg", slide) for slide in slides]
    assert 6 <= len(slides) <= 8
    assert figures[0] == []
    assert all(len(shown) == 1 and shown[0] in GALLERY for shown in figures[1:])


def test_a_plan_names_only_slides_that_exist():
    titles = set(re.findall(r"^## (.+)$", read("slides.md"), re.MULTILINE))
    plan = read("teaching.md").split("## Ninety minutes")[1].split("\n## ")[0]
    named = [row.split("|")[3].strip() for row in plan.splitlines() if re.match(r"\| \d", row)]
    found = [title for cell in named for title in re.findall(r"[^?]+\??", cell)]
    assert len(found) >= len(titles) - 1
    assert {title.strip() for title in found} <= titles


def test_numbers_on_slides_are_not_typed():
    text = re.sub(r"\{glue:text\}`[^`]+`", "", read("slides.md"))
    assert not re.findall(r"\d", text)
