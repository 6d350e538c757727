"""What notebooks show is safe."""

from pathlib import Path

import pandas as pd
import pytest

from helpers.book.notebook import (
    LONGEST_NAME,
    MOST_SHOWN,
    TEXT,
    WHOLE,
    check_kept,
    name_source_of_rows,
    show_provenance,
    show_table,
    show_text,
)
from helpers.errors import StudyError
from helpers.store import Run, run_stage

EVIL = '<script>alert(1)</script><img src=x onerror="alert(2)">'


def test_text_of_models_is_shown_escaped():
    shown = show_text(EVIL).data
    assert "<script" not in shown
    assert "<img" not in shown
    assert "&lt;script&gt;" in shown


def test_cells_of_tables_are_shown_escaped():
    shown = show_table(pd.DataFrame({"response": [EVIL], EVIL: [1.23456]})).data
    assert "<script" not in shown
    assert "<img" not in shown
    assert "1.23" in shown


def test_line_breaks_are_kept_and_missing_values_left_empty():
    shown = show_table(pd.DataFrame({"response": ["a\nb", "c"], "similarity": [None, 0.5]})).data
    assert "a<br>b" in shown
    assert "nan" not in shown.lower()


def test_a_p_that_rounds_to_zero_is_not_shown_as_zero():
    shown = show_table(
        pd.DataFrame({"estimate": [0.0, 0.1], "p": [0.0004, 0.04], "p_holm": [None, 0.5]}), digits=3
    ).data
    assert "&lt;0.001" in shown
    assert "0.040" in shown
    assert "0.000" in shown
    assert "nan" not in shown.lower()


def test_an_estimate_stands_with_its_interval_in_one_column_with_true_minus_signs():
    table = pd.DataFrame(
        {"cell": ["qa"], "estimate": [-0.4189], "low": [-0.671], "high": [-0.0001], "n": [12]}
    )
    shown = show_table(table).data
    assert f"<td{WHOLE}>−0.42 [−0.67, 0.00]</td>" in shown
    assert "<th>low</th>" not in shown


def test_an_interval_and_a_name_stay_on_one_line_and_a_sentence_need_not():
    texts = [
        "+0.82 [0.50, 1.17]*",
        "medication_status-002",
        "Read the note.",
        "a" * (LONGEST_NAME + 1),
        "a\nb",
    ]
    shown = show_table(pd.DataFrame({"text": texts})).data
    assert shown.count(f"<td{WHOLE}>") == 2
    assert f"<td{WHOLE}>medication_status-002</td>" in shown


def test_a_number_is_marked_to_be_aligned_and_large_counts_are_grouped():
    shown = show_table(pd.DataFrame({"n_rows": [25005, 9], "year": [2024, 2024], "kept": [True, False]})).data
    assert f'<td class="number">25,005</td><td class="number">2024</td><td{TEXT}>yes</td>' in shown
    assert '<th class="number">n rows</th>' in shown
    assert f"<th{TEXT}>kept</th>" in shown


def test_only_a_long_table_scrolls_in_its_box():
    assert 'class="table short"' in show_table(pd.DataFrame({"n": range(MOST_SHOWN)})).data
    assert 'class="table long"' in show_table(pd.DataFrame({"n": range(MOST_SHOWN + 1)})).data


def test_provenance_names_results_the_seconds_of_answers_and_once_commit_and_libraries():
    run, other = (run_stage("toy", {"n": n}, {}, 1, lambda folder: {"answer_seconds": 4321}) for n in (1, 2))
    shown = show_provenance([run, other]).data
    assert run.fingerprint in shown
    assert other.fingerprint in shown
    assert shown.count("python ") == 1
    assert "4321" in shown


def test_rows_are_of_lesson_2_where_the_synthesis_of_the_store_made_them(runs, tmp_path):
    made_here = str(runs / "synthesis" / "0123" / "instructions.jsonl")
    assert name_source_of_rows("") == name_source_of_rows(made_here) == "lesson 2"
    for named in (str(tmp_path / "synthesis" / "rows.jsonl"), "synthesis/rows.jsonl", "public"):
        assert name_source_of_rows(named) == named


def test_a_lesson_without_any_kept_task_says_why_and_what_to_do():
    run = Run(Path("runs/synthesis/0123"), {})
    tasks = pd.DataFrame({"id": ["a", "b", "c"], "reason": ["too long", "too long", None]})
    check_kept(tasks, run)
    with pytest.raises(StudyError, match=r"Every one of the 2 tasks .*too long: 2.*`max_words`"):
        check_kept(tasks.head(2), run)
    with pytest.raises(StudyError, match=r"No task could be read .*replies\.jsonl.*`teacher`"):
        check_kept(tasks.head(0), run)


def test_two_columns_of_one_name_are_both_shown():
    table = pd.DataFrame([["qa+mixture", 3, 4]], columns=["mixture", "mixture", "qa"])
    shown = show_table(table).data
    assert shown.count(">mixture</th>") == 2
    assert f'<td{WHOLE}>qa+mixture</td><td class="number">3</td><td class="number">4</td>' in shown
