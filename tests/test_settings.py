"""Parameters: types and ranges."""

import pytest

from helpers.errors import StudyError
from helpers.settings import build_settings
from helpers.tuning.settings import TuningSettings


def test_same_named_parameters_are_picked_and_others_left_aside():
    assert build_settings(TuningSettings, {"lora_rank": 4, "unrelated": object()}).lora_rank == 4


def test_a_whole_number_serves_as_a_float():
    settings = build_settings(TuningSettings, {"learning_rate": 1})
    assert isinstance(settings.learning_rate, float)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("lora_rank", "16", "must be int"), ("n_rows", True, "must be int"), ("epochs", 0, "at least 1")],
)
def test_wrong_values_are_refused_with_what_was_found(name, value, message):
    with pytest.raises(StudyError, match=message):
        build_settings(TuningSettings, {name: value})
