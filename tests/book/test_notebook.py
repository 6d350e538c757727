"""What notebooks show is safe."""

import pandas as pd

from helpers.book.notebook import show_provenance, show_table, show_text
from helpers.store import run_stage

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


def test_provenance_names_result_commit_libraries_and_the_seconds_of_answers():
    run = run_stage("toy", {}, {}, 1, lambda folder: {"answer_seconds": 4321})
    shown = show_provenance([run]).data
    assert run.fingerprint in shown
    assert "python" in shown
    assert "4321" in shown
