"""The texts in seeds/: proportions, diversity, balance, no overlap, no identifiers."""

from collections import Counter

import numpy as np
import pytest

from helpers.checks import content
from helpers.evaluation.tasks import TASKS, load_items
from helpers.jsonl import read_rows
from helpers.paths import SEED_TASKS, SEEDS
from helpers.records import PronounItem, SeedTask, TeacherReply
from helpers.synthesis.draws import choose_seed_tasks
from helpers.synthesis.parsing import parse_reply
from helpers.synthesis.requests import build_request, prompt_sha256
from helpers.synthesis.settings import SynthesisSettings
from helpers.synthesis.teacher import REPLIES

CHOICE = [task for task in TASKS.values() if task.is_choice]


@pytest.fixture(scope="module")
def seeds():
    return read_rows(SEED_TASKS, SeedTask)


@pytest.fixture(scope="module")
def replies():
    return read_rows(REPLIES, TeacherReply)


@pytest.fixture(scope="module")
def items():
    return content.load_benchmark()


def test_there_are_eighty_seeds_in_the_papers_proportions(seeds):
    assert Counter(seed.category for seed in seeds) == {"qa": 18, "ie": 27, "gen": 27, "other": 8}


def test_seeds_cover_forty_skills_and_twenty_specialties(seeds):
    assert len({seed.skill for seed in seeds}) >= 40
    assert len({seed.specialty for seed in seeds}) >= 20


def test_a_third_of_the_inputs_is_longer_than_sixty_words(seeds):
    assert sum(len(seed.input.split()) > 60 for seed in seeds) >= len(seeds) / 3


def test_each_reply_answers_the_prompt_that_the_study_builds(seeds, replies):
    by_id = {seed.id: seed for seed in seeds}
    for reply in replies:
        seed_ids = choose_seed_tasks(by_id, SynthesisSettings().draw_seed, reply.request)
        assert reply.seed_ids == seed_ids
        assert reply.prompt_sha256 == prompt_sha256(build_request([by_id[seed_id] for seed_id in seed_ids]))


def test_each_reply_goes_on_from_four_to_twenty_with_a_label_for_every_whole_task(replies):
    for reply in replies:
        tasks = parse_reply(reply.text, reply.finish_reason)
        assert [task.number for task in tasks] == list(range(4, 21)), reply.request
        assert {task.number for task in tasks if task.is_complete} <= reply.categories.keys()


def test_recorded_replies_say_that_they_are_not_a_providers(replies):
    assert {reply.source for reply in replies} == {"written for this project in the teacher's stead"}


def test_each_task_has_forty_items_and_each_one_shot_task_one_demonstration(items):
    for task in TASKS.values():
        assert len(items[task.name]) >= 40
        assert (load_items(task)[1] is not None) == (not task.is_choice)


@pytest.mark.parametrize(
    "task", [task for task in CHOICE if "choice" in task.name], ids=lambda task: task.name
)
def test_the_longest_option_is_no_clue(items, task):
    longest = [
        max(range(len(item.options)), key=lambda i: len(item.options[i])) == item.answer
        for item in items[task.name]
    ]
    assert np.mean(longest) < 0.4


def test_difficulties_are_spread(items):
    for name, rows in items.items():
        counts = Counter(item.difficulty for item in rows)
        assert min(counts[level] for level in ("easy", "medium", "hard")) >= len(rows) / 5, name


def test_all_comparisons_of_texts_hold():
    table = content.check_texts()
    assert table[~table["holds"]].to_dict("records") == []


def test_shared_ngrams_are_found_whatever_their_case_and_punctuation():
    item = PronounItem(
        id="p",
        split="test",
        difficulty="easy",
        text="Today, the left knee is swollen and it really hurts.",
        pronoun="it",
        gold={"forms": ["the left knee"]},
    )
    assert content.find_shared_ngrams(["He said: the LEFT knee is swollen, and it really..."], [item]) == {
        "p": {"the left knee is swollen and it really"}
    }
    assert content.find_shared_ngrams(["the left knee is swollen and it did hurt"], [item]) == {}


@pytest.mark.parametrize(
    "text", ["call 555-12-3456", "a@b.org", "see https://x.y", "born 3/4/1950", "MRN: 12345"]
)
def test_identifiers_are_found(text):
    assert content.find_identifiers({"t": f"A patient, {text}."})


def test_doses_ranges_and_ratios_are_no_identifiers():
    assert content.find_identifiers({"t": "BP 120/80, 5-10 mg, INR 2.0-3.0, 1/2 tablet, day 3/7"}) == {}


def test_the_record_of_the_second_reading_names_every_file_and_no_more_changes_than_items():
    rows = [line.split(",") for line in (SEEDS / "second_reading.csv").read_text().splitlines()[1:]]
    assert {name for name, *_ in rows} == {
        "seed_tasks.jsonl",
        "teacher_replies.jsonl",
        *(f"benchmark/{task}.jsonl" for task in TASKS),
    }
    assert all(int(changed) <= int(read) for _, read, changed in rows)
