"""The texts in seeds/: proportions, diversity, balance, no overlap, no identifiers."""

import re
from collections import Counter

import numpy as np
import pytest

from helpers.evaluation.tasks import TASKS, load_items
from helpers.paths import SEEDS
from helpers.records import SeedTask, TeacherReply, read_rows
from helpers.rouge import similarity_matrix, tokenize
from helpers.synthesis.draws import draw_seeds
from helpers.synthesis.parsing import parse_reply
from helpers.synthesis.pipeline import SEED_TASKS, SynthesisSettings
from helpers.synthesis.prompts import build_request, prompt_sha256
from helpers.synthesis.teacher import REPLIES

CHOICE = [task for task in TASKS.values() if task.is_choice]
IDENTIFIERS = re.compile(r"\b\d{3}-\d{2}-\d{4}\b|\b[\w.]+@[\w.]+\.\w+|https?://|\b\d{1,2}/\d{1,2}/(19|20)\d{2}\b|\b(MRN|DOB)[: ]+\d|\(\d{3}\) \d{3}")
DEIDENTIFICATION = "seed-033"


@pytest.fixture(scope="module")
def seeds():
    return read_rows(SEED_TASKS, SeedTask)


@pytest.fixture(scope="module")
def replies():
    return read_rows(REPLIES, TeacherReply)


@pytest.fixture(scope="module")
def items():
    return {task.name: load_items(task)[0] for task in TASKS.values()}


def test_there_are_eighty_seeds_in_the_papers_proportions(seeds):
    assert Counter(seed.category for seed in seeds) == {"qa": 18, "ie": 27, "gen": 27, "other": 8}


def test_seeds_cover_forty_skills_and_twenty_specialties(seeds):
    assert len({seed.skill for seed in seeds}) >= 40
    assert len({seed.specialty for seed in seeds}) >= 20


def test_a_third_of_the_inputs_is_longer_than_sixty_words(seeds):
    assert sum(len(seed.input.split()) > 60 for seed in seeds) >= len(seeds) / 3


def test_no_two_seed_instructions_resemble_each_other(seeds):
    similarity = similarity_matrix(seed.instruction for seed in seeds)
    assert similarity[np.triu_indices(len(seeds), k=1)].max() < 0.5


def test_each_reply_answers_the_prompt_that_the_study_builds(seeds, replies):
    by_id = {seed.id: seed for seed in seeds}
    for reply in replies:
        seed_ids = draw_seeds(by_id, SynthesisSettings().draw_seed, reply.request)
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


@pytest.mark.parametrize("task", [task for task in CHOICE if "choice" in task.name or task.name == "sentence_inference"], ids=lambda task: task.name)
def test_positions_of_right_answers_are_balanced(items, task):
    counts = Counter(item.answer for item in items[task.name])
    assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize("task", [task for task in CHOICE if "choice" in task.name], ids=lambda task: task.name)
def test_the_longest_option_is_no_clue(items, task):
    longest = [max(range(len(item.options)), key=lambda i: len(item.options[i])) == item.answer for item in items[task.name]]
    assert np.mean(longest) < 0.4


def test_difficulties_are_spread(items):
    for name, rows in items.items():
        counts = Counter(item.difficulty for item in rows)
        assert min(counts[level] for level in ("easy", "medium", "hard")) >= len(rows) / 4, name


def grams(text, n=8):
    words = tokenize(text)
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def benchmark_text(item):
    return " ".join(filter(None, (getattr(item, "context", ""), getattr(item, "question", ""), getattr(item, "text", ""))))


def test_no_eight_words_in_a_row_stand_in_training_tasks_and_benchmark_alike(seeds, replies, items):
    training = [text for seed in seeds for text in (seed.instruction, seed.input, seed.output)]
    training += [text for reply in replies for task in parse_reply(reply.text) for text in (task.instruction, task.input, task.output) if text]
    seen = set().union(*map(grams, training))
    shared = {item.id: grams(benchmark_text(item)) & seen for rows in items.values() for item in rows}
    assert {item_id: found for item_id, found in shared.items() if found} == {}


def test_no_benchmark_text_resembles_a_training_input(seeds, replies, items):
    inputs = [seed.input for seed in seeds] + [task.input for reply in replies for task in parse_reply(reply.text) if task.input]
    texts = [benchmark_text(item) for rows in items.values() for item in rows]
    assert similarity_matrix(texts, inputs).max() < 0.6


def test_no_text_holds_an_identifier(seeds, replies, items):
    texts = {seed.id: f"{seed.instruction} {seed.input} {seed.output}" for seed in seeds if seed.id != DEIDENTIFICATION}
    texts |= {f"reply {reply.request}": reply.text for reply in replies}
    texts |= {item.id: benchmark_text(item) for rows in items.values() for item in rows}
    assert {name: match.group() for name, text in texts.items() if (match := IDENTIFIERS.search(text))} == {}


def test_the_record_of_the_second_reading_names_every_file_and_no_more_changes_than_items():
    rows = [line.split(",") for line in (SEEDS / "second_reading.csv").read_text().splitlines()[1:]]
    assert {name for name, *_ in rows} == {"seed_tasks.jsonl", "teacher_replies.jsonl", *(f"benchmark/{task}.jsonl" for task in TASKS)}
    assert all(int(changed) <= int(read) for _, read, changed in rows)
