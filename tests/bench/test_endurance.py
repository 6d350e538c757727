"""Faults and kills, with real processes: a short one here, the long one in `study bench`."""

import pytest

from helpers.bench.endurance import run_endurance


@pytest.mark.slow
def test_a_synthesis_through_faults_and_kills_ends_in_the_bytes_of_a_calm_one(tmp_path):
    outcome = run_endurance(tmp_path, n_rows=200, n_kills=2, fault_rate=0.05, n_parallel=4)
    assert outcome["identical"]
    assert outcome["n_kills"] >= 1
    assert outcome["n_sent_again"] <= 4 * outcome["n_kills"]
    assert outcome["n_asked_once_finished"] == 0
