"""The evaluation stage and the grid, end to end on a toy model."""

import dataclasses

import pytest
import torch

from helpers.errors import StudyError
from helpers.evaluation import prepared_tasks, stage, tasks
from helpers.evaluation.merging import SharedBase
from helpers.evaluation.metrics import MENTION_COUNTS
from helpers.evaluation.partial import PartialResults
from helpers.evaluation.prepared_tasks import list_first_prompts, prepare_tasks, warn_of_references
from helpers.evaluation.stage import ANSWERS, ITEMS, EvaluationSettings, evaluate, score_answers
from helpers.evaluation.task_prompts import build_task_prompt
from helpers.evaluation.tasks import TASKS, load_items, parse_tasks
from helpers.jsonl import dump_rows, read_json_lines
from helpers.models.load import describe_format, load_model, load_tokenizer
from helpers.prompts import PAPERS_FORMAT, encode_prompt
from helpers.store import load_run
from helpers.study.cells import answer_cell, collect_items
from helpers.tuning.settings import TuningSettings


@pytest.fixture
def settings(toy_model):
    return EvaluationSettings(model=toy_model, n_items=3)


def read(run):
    return read_json_lines(run.file(ITEMS))


def test_all_nine_tasks_are_answered_and_scored(settings):
    rows = read(evaluate(settings))
    assert len(rows) == 27
    assert {row["task"] for row in rows} == set(TASKS)
    assert all(0 <= row["score"] <= 1 for row in rows)


@pytest.mark.parametrize(
    ("prompt_format", "answer"), [("alpaca", "Rest."), ("chat", "Rest.\n### Diet\nDrink.")]
)
def test_a_heading_ends_an_answer_in_alpacas_form_alone(settings, prompt_format, answer, tmp_path):
    wanted = dataclasses.replace(settings, tasks="patient_answer", n_items=1, prompt_format=prompt_format)
    (tmp_path / ANSWERS).write_text(dump_rows([{"id": "x", "response": " Rest.\n### Diet\nDrink.\n"}]))
    (row,) = score_answers(prepare_tasks(wanted)[0], tmp_path / ANSWERS)
    assert (row["answer"], row["n_words"]) == (answer, len(answer.split()))


def test_an_answer_ends_at_each_token_where_the_model_itself_stops(toy_model):
    model, tokenizer = load_model(toy_model), load_tokenizer(toy_model)
    for own, ends in ((None, [1]), (1, [1]), ([7, 1, 9], [1, 7, 9])):
        model.generation_config.eos_token_id = own
        assert stage.list_ends(model, tokenizer, PAPERS_FORMAT) == ends


@pytest.mark.parametrize("scoring", ["text", "letter"])
def test_scores_do_not_depend_on_the_batch(settings, scoring, monkeypatch, tmp_path):
    settings = dataclasses.replace(settings, choice_scoring=scoring, permute_options=scoring == "letter")
    together = read(evaluate(settings))
    monkeypatch.setenv("STUDY_RUNS", str(tmp_path / "single"))
    monkeypatch.setattr(stage, "BATCH_SIZE", 1)
    monkeypatch.setattr(stage, "CHOICE_BATCH_SIZE", 1)
    for one, other in zip(read(evaluate(settings)), together, strict=True):
        assert one == pytest.approx(other, abs=1e-4)


def test_a_killed_evaluation_keeps_the_tasks_it_has_answered(settings, monkeypatch):
    answered = []

    def die_at_third(model, tokenizer, prepared, partial):
        if len(answered) == 2:
            raise KeyboardInterrupt
        answered.append(prepared.task.name)
        return answer(model, tokenizer, prepared, partial)

    answer = stage.answer_items
    monkeypatch.setattr(stage, "answer_items", die_at_third)
    with pytest.raises(KeyboardInterrupt):
        evaluate(settings)
    again = []
    monkeypatch.setattr(stage, "answer_items", lambda *args: again.append(args[2].task.name) or answer(*args))
    evaluate(settings)
    assert answered + again == list(TASKS)


class Killed(BaseException):
    """What no code of ours catches."""


@pytest.mark.parametrize(
    ("task", "scoring"), [("patient_answer", "text"), ("exam_choice", "text"), ("exam_choice", "letter")]
)
def test_a_task_killed_after_a_batch_goes_on_with_the_next_and_ends_in_the_same_bytes(
    settings, task, scoring, monkeypatch, tmp_path, runs
):
    settings = dataclasses.replace(
        settings, tasks=task, n_items=5, choice_scoring=scoring, permute_options=scoring == "letter"
    )
    monkeypatch.setattr(stage, "BATCH_SIZE", 2)
    monkeypatch.setattr(stage, "CHOICE_BATCH_SIZE", 2)
    keep, batches = PartialResults.keep, []

    def keep_two(partial, batch, answers):
        keep(partial, batch, answers)
        batches.append(list(batch))
        if len(batches) == 2:
            raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(PartialResults, "keep", keep_two)
        evaluate(settings)
    (left,) = runs.glob("answers/*/.answers.jsonl")
    with left.open("a") as file:
        file.write('[0, "a line that the kill broke')
    monkeypatch.setattr(
        PartialResults,
        "keep",
        lambda partial, batch, answers: batches.append(list(batch)) or keep(partial, batch, answers),
    )
    evaluate(settings)
    assert not left.exists()
    killed = {path.relative_to(runs): path.read_bytes() for path in runs.glob("*/*/*.jsonl")}
    resumed, batches[:] = batches[:], []
    monkeypatch.setenv("STUDY_RUNS", str(tmp_path / "undisturbed"))
    evaluate(settings)
    assert resumed == batches
    assert len(batches) > 2
    assert killed == {
        path.relative_to(tmp_path / "undisturbed"): path.read_bytes()
        for path in (tmp_path / "undisturbed").glob("*/*/*.jsonl")
    }


def test_a_batch_of_which_only_a_part_was_written_is_answered_again(tmp_path):
    PartialResults(tmp_path / "partial").keep([3, 1, 2], ["a", "b", "x"])
    whole = (tmp_path / "partial").read_text()
    (tmp_path / "partial").write_text(whole[:-5])  # a kill broke the last line off
    partial = PartialResults(tmp_path / "partial")
    assert [partial.needs_answers(batch) for batch in ([3, 1], [1, 2])] == [False, True]
    partial.keep([2, 0], ["c", "d"])
    assert PartialResults(tmp_path / "partial").in_order() == ["d", "b", "c", "a"]


@pytest.mark.parametrize("damage", ["other bytes", "no JSON", "[]", "{}", "null", "zeros", "deep"])
def test_damaged_answers_are_named_and_given_again(tmp_path, damage, caplog, monkeypatch):
    monkeypatch.delenv("STUDY_PROGRESS")
    path = tmp_path / "partial"
    PartialResults(path).keep([0, 1], ["yes", "no"])
    line = {"other bytes": path.read_text().replace("no", "on"), "zeros": "\0\0\n", "deep": "[" * 9999 + "\n"}
    path.write_text(line.get(damage, f"{damage}\n"))
    partial = PartialResults(path)
    assert partial == {}
    assert "partial is damaged" in caplog.text
    assert "answered again" in caplog.text
    partial.keep([0], ["yes"])
    assert PartialResults(path) == {0: "yes"}


def test_more_tasks_reuse_the_answers_that_are_stored(settings, monkeypatch):
    evaluate(dataclasses.replace(settings, tasks="exam_choice"))
    answered, answer = [], stage.answer_items
    monkeypatch.setattr(
        stage, "answer_items", lambda *args: answered.append(args[2].task.name) or answer(*args)
    )
    evaluate(dataclasses.replace(settings, tasks="exam_choice,patient_answer"))
    assert answered == ["patient_answer"]


def test_one_more_public_task_or_another_right_answer_discards_no_stored_answer(settings, monkeypatch, runs):
    settings = dataclasses.replace(settings, tasks="exam_choice,patient_answer")
    first = evaluate(settings)
    more = dataclasses.replace(tasks.PUBLIC_TASKS["medquad"], name="new_task")
    monkeypatch.setitem(tasks.PUBLIC_TASKS, "new_task", more)
    assert evaluate(settings).reused
    load = prepared_tasks.load_items
    monkeypatch.setattr(prepared_tasks, "load_items", lambda *args: change_answers(load(*args)))
    again = evaluate(settings)
    assert again.path != first.path
    assert len(list((runs / "answers").iterdir())) == 2


def change_answers(loaded):
    """Return items of which the choices have another right answer."""
    items, demonstration = loaded
    choices = [{"answer": 1 - min(item.answer, 1)} if hasattr(item, "answer") else {} for item in items]
    return [
        item.model_copy(update=change) for item, change in zip(items, choices, strict=True)
    ], demonstration


def test_another_prompt_or_length_of_response_is_answered_anew(settings, monkeypatch):
    settings = dataclasses.replace(settings, tasks="patient_answer")
    runs = {evaluate(settings).manifest["inputs"]["patient_answer"]}
    for change in ({"instruction": "Answer."}, {"max_new_tokens": 5}):
        with monkeypatch.context() as patched:
            patched.setitem(
                tasks.TASKS, "patient_answer", dataclasses.replace(TASKS["patient_answer"], **change)
            )
            runs.add(evaluate(settings).manifest["inputs"]["patient_answer"])
    assert len(runs) == 3


def test_another_lexicon_scores_stored_answers_anew(settings, monkeypatch, tmp_path):
    settings = dataclasses.replace(settings, tasks="patient_answer")
    first = evaluate(settings)
    (tmp_path / "concepts.txt").write_text("fever\n")
    monkeypatch.setattr(stage, "LEXICON", tmp_path / "concepts.txt")
    again = evaluate(settings)
    assert not again.reused
    assert again.manifest["inputs"]["patient_answer"] == first.manifest["inputs"]["patient_answer"]


def test_the_fingerprint_holds_the_device_and_number_format_that_were_used(settings, runs, monkeypatch):
    settings = dataclasses.replace(settings, tasks="exam_choice")
    auto = evaluate(settings)
    computed = describe_format()
    assert evaluate(dataclasses.replace(settings, dtype=computed["dtype"])).path == auto.path
    answers = load_run(runs / "answers" / auto.manifest["inputs"]["exam_choice"])
    assert computed.items() <= answers.manifest["inputs"].items()
    monkeypatch.setattr(stage, "describe_format", lambda _: computed | {"products": "another"})
    assert evaluate(settings).path != auto.path


def test_scoring_runs_again_from_stored_answers_without_a_model(settings, runs):
    settings = dataclasses.replace(settings, tasks="evidence_yesno,patient_answer")
    run = evaluate(settings)
    prepared_tasks = prepare_tasks(settings)
    rows = [
        row
        for prepared in prepared_tasks
        for row in score_answers(
            prepared, runs / "answers" / run.manifest["inputs"][prepared.task.name] / ANSWERS
        )
    ]
    assert rows == read(run)


def test_cells_of_the_grid_share_items_and_are_loaded_the_second_time(toy_model, settings, instruction_file):
    tuning = TuningSettings(model=toy_model, n_rows=4, batch_size=2, learning_rate=1e-2)
    names = ["base", "qa", "qa+ie"]
    items = collect_items({name: answer_cell(name, tuning, settings, instruction_file) for name in names})
    assert items.groupby("cell")["item"].apply(frozenset).nunique() == 1
    assert all(answer_cell(name, tuning, settings, instruction_file).evaluation.reused for name in names)


def test_a_changed_parameter_recomputes_what_depends_on_it_and_nothing_else(
    toy_model, settings, instruction_file
):
    tuning = TuningSettings(model=toy_model, n_rows=4, batch_size=2, learning_rate=1e-2)
    for name in ("base", "qa"):
        answer_cell(name, tuning, settings, instruction_file)
    changed = dataclasses.replace(tuning, lora_rank=2)
    base, qa = (answer_cell(name, changed, settings, instruction_file) for name in ("base", "qa"))
    assert base.evaluation.reused
    assert not qa.tuning.reused
    assert not qa.evaluation.reused


def test_one_shot_prompts_show_the_demonstration_and_zero_shot_ones_none():
    for task in TASKS.values():
        items, demonstration = load_items(task)
        prompt = build_task_prompt(task, items[0], demonstration).text
        assert (demonstration is not None) == (task.category != "qa")
        assert prompt.count("### Response:") == (2 if demonstration else 1)
        assert prompt.endswith("### Response:\n")


def test_ideal_answers_score_one():
    for task in TASKS.values():
        if not task.is_choice:
            for item in load_items(task)[0]:
                measures = task.score(task.write_reference(item), item)
                assert measures["parsed"]
                shares = [value for name, value in measures.items() if name not in MENTION_COUNTS]
                assert all(value == 1 for value in shares), (task.name, item.id)


def test_an_unknown_task_is_refused_with_the_known_ones():
    with pytest.raises(StudyError, match=r"'all' or some of exam_choice.*medqa.*'medqb' was found"):
        parse_tasks("exam_choice,medqb")


def test_answers_may_hold_any_character(settings, monkeypatch):
    odd = "yes\u2028no\u0085\r\x0b maybe"
    monkeypatch.setattr(
        stage,
        "answer_items",
        lambda model, tokenizer, prepared, partial: [{"response": odd} for _ in prepared.items],
    )
    rows = read(evaluate(dataclasses.replace(settings, tasks="patient_answer")))
    assert {row["response"] for row in rows} == {odd}


def test_contradicting_settings_are_refused(settings):
    with pytest.raises(StudyError, match="'text' or 'letter', but 'number' was found"):
        evaluate(dataclasses.replace(settings, choice_scoring="number"))
    with pytest.raises(StudyError, match="has no effect where options are not listed"):
        evaluate(dataclasses.replace(settings, permute_options=True))


@pytest.mark.parametrize("scoring", ["text", "letter"])
def test_first_prompts_are_shown_as_the_model_gets_them(settings, scoring):
    table = list_first_prompts(dataclasses.replace(settings, choice_scoring=scoring)).set_index("task")
    assert list(table.index) == list(TASKS)
    assert all(
        prompt.startswith("<s>Below is") and prompt.count("<s>") == 1 and prompt.endswith("### Response:\n")
        for prompt in table["prompt"]
    )
    assert ("\nA. " in table.loc["exam_choice", "prompt"]) == (scoring == "letter")
    assert table.loc["patient_answer", "prompt"].count("### Response:") == 2
    assert table["tokens"].min() > 20


def test_letters_are_read_one_place_after_the_prompt_in_every_order(settings):
    prepared = prepare_tasks(
        dataclasses.replace(settings, tasks="evidence_yesno", choice_scoring="letter", permute_options=True)
    )[0]
    item = prepared.items[0]
    straight, rotated = (prompt.text for prompt in prepared.build_prompts(item))
    assert f"A. {item.options[0]}\nB. {item.options[1]}" in straight
    assert f"A. {item.options[1]}\nB. {item.options[0]}" in rotated
    base = SharedBase(settings.model)
    model, tokenizer = base.merge(None), base.tokenizer
    letters = [tokenizer(letter, add_special_tokens=False)["input_ids"] for letter in "AB"]
    for rotation, found in enumerate(stage.answer_items(model, tokenizer, prepared)[0]["loglikelihoods"]):
        ids = encode_prompt(tokenizer, (straight, rotated)[rotation])
        with torch.inference_mode():
            plain = torch.log_softmax(model(torch.tensor([ids])).logits[0, -1], dim=-1)
        assert found == pytest.approx(
            [plain[letters[(index - rotation) % 2][0]].item() for index in range(2)], abs=1e-4
        )


def test_right_answers_that_no_model_could_reach_are_told(toy_model, tmp_path, recwarn):
    rows = [
        {"id": "train", "split": "train", "text": "A cough.", "references": ["Rest."]},
        {"id": "wordless", "split": "test", "text": "Fever?", "references": ["?!"]},
        {"id": "short", "split": "test", "text": "Cough?", "references": ["Rest."]},
        {"id": "long", "split": "test", "text": "Pain?", "references": ["rest and drink " * 99]},
    ]
    (tmp_path / "patient_answer.jsonl").write_text(dump_rows(rows), encoding="utf-8")
    (prepared,) = prepare_tasks(EvaluationSettings(model=toy_model, tasks="patient_answer"), tmp_path)
    warn_of_references(load_tokenizer(toy_model), prepared)
    unlike, long = (str(warning.message) for warning in recwarn)
    assert "1 of 3 right answers score below 1" in unlike
    assert "that of 'wordless'" in unlike
    assert "1 of 3 right answers are longer than the 66 tokens" in long
