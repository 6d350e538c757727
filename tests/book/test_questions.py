"""The self-check questions: four a lesson, one right option each, no option without its reason."""

import nbformat
import pytest
from bs4 import BeautifulSoup

from helpers.book import questions
from helpers.book.parameters import list_notebooks
from helpers.book.questions import ask_questions, read_questions
from helpers.errors import StudyError

EVERY = [question for lesson in read_questions().values() for question in lesson]


def test_each_lesson_has_four_questions():
    assert {name: len(asked) for name, asked in read_questions().items()} == {
        path.name[:2]: 4 for path in list_notebooks()
    }


def test_the_right_option_is_not_known_by_its_place():
    places = [[option.right for option in question.options].index(True) for question in EVERY]
    assert all(len(question.options) == 3 for question in EVERY)
    assert all(places.count(place) >= len(EVERY) / 4 for place in range(3))


def test_the_right_option_is_not_known_by_its_length():
    longest = [max(question.options, key=lambda option: len(option.text)).right for question in EVERY]
    assert sum(longest) <= len(EVERY) / 2


def test_every_option_unfolds_to_its_own_reason():
    page = BeautifulSoup(ask_questions("03").data, "html.parser")
    for item, question in zip(page.find_all("li"), read_questions()["03"], strict=True):
        assert item.p.text == question.ask
        for folded, option in zip(item.find_all("details"), question.options, strict=True):
            assert folded.summary.text == option.text
            assert not folded.has_attr("open")
            assert folded.p.text == f"{'Right' if option.right else 'Wrong'}. {option.why}"


def test_nothing_is_loaded_and_no_script_runs():
    page = BeautifulSoup(ask_questions("06").data, "html.parser")
    assert not page.find_all(["script", "style", "link", "img", "iframe"])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('"01":\n  - ask: Why?\n    options: [{text: a, why: b}, {text: c, why: d}]\n', "one option"),
        ('"01":\n  - ask: Why?\n    options: [{text: a, right: true}, {text: c, why: d}]\n', "why"),
        ('"01": [\n', "YAML"),
    ],
)
def test_a_question_that_does_not_fit_is_named(tmp_path, monkeypatch, text, found):
    path = tmp_path / "questions.yaml"
    path.write_text(text)
    monkeypatch.setattr(questions, "QUESTIONS", path)
    with pytest.raises(StudyError, match=found):
        read_questions()


def test_mark_up_in_a_question_is_shown_as_it_is(tmp_path, monkeypatch):
    path = tmp_path / "questions.yaml"
    path.write_text(
        '"01":\n  - ask: p < 0.05?\n    options: [{text: "<b>", why: b, right: true}, {text: c, why: d}]\n'
    )
    monkeypatch.setattr(questions, "QUESTIONS", path)
    assert "p &lt; 0.05" in ask_questions("01").data
    assert "<b>" not in ask_questions("01").data


@pytest.mark.parametrize("path", list_notebooks(), ids=lambda path: path.stem)
def test_each_lesson_asks_its_own_questions_just_before_its_exercises(path):
    sources = [cell.source for cell in nbformat.read(path, as_version=4).cells]
    [place] = [place for place, source in enumerate(sources) if source.startswith("## Exercises")]
    assert f'ask_questions("{path.name[:2]}")' in sources[place - 1]
    assert sum("ask_questions(" in source for source in sources) == 1
