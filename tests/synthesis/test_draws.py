"""Draws: pure, fair, repeatable."""

from collections import Counter

from helpers.synthesis.draws import choose_seed_tasks

IDS = [f"seed-{n:03d}" for n in range(1, 81)]


def test_a_draw_is_three_different_seeds():
    assert all(len(set(choose_seed_tasks(IDS, 2024, request))) == 3 for request in range(200))


def test_a_draw_depends_on_seed_and_request_alone():
    assert choose_seed_tasks(IDS, 2024, 5) == choose_seed_tasks(reversed(IDS), 2024, 5)
    assert choose_seed_tasks(IDS, 2024, 5) != choose_seed_tasks(IDS, 2024, 6)
    assert choose_seed_tasks(IDS, 2024, 5) != choose_seed_tasks(IDS, 2025, 5)


def test_draws_never_change_between_versions():
    assert choose_seed_tasks(IDS, 2024, 0) == ("seed-053", "seed-042", "seed-004")


def test_every_seed_has_the_same_chance():
    counts = Counter(seed for request in range(4000) for seed in choose_seed_tasks(IDS, 1, request))
    assert len(counts) == 80
    assert all(100 < count < 205 for count in counts.values())  # 150 expected, standard deviation 12
