"""Public sets in the embedded format: small rows written here in the form of each source, and the real files
where `STUDY_DATA` names them.
"""

import json
import os
from pathlib import Path

import pytest

from helpers.errors import StudyError
from helpers.evaluation import converters, loaders
from helpers.evaluation.sources import SOURCES
from helpers.evaluation.task_prompts import build_task_prompt
from helpers.evaluation.tasks import PUBLIC_TASKS, TASKS, find_task, load_items

QUESTION = {"id": "q1", "question": "Which vitamin is lacking in scurvy?"}
LETTERED = {"A": "vitamin A", "B": "vitamin C", "C": "vitamin D", "D": "vitamin K"}
COLUMNS = {"opa": "vitamin A", "opb": "vitamin C", "opc": "vitamin D", "opd": "vitamin K"}
ABSTRACT = ["We followed forty runners.", "Ten fell ill."]


@pytest.mark.parametrize(
    ("convert", "row"),
    [
        (
            converters.convert_medqa,
            QUESTION | {"options": LETTERED, "answer": "vitamin C", "answer_idx": "B"},
        ),
        (converters.convert_medqa, QUESTION | {"options": LETTERED, "answer": "B"}),
        (
            converters.convert_medqa,
            {"id": "q1", "sent1": QUESTION["question"], "label": 1}
            | {f"ending{n}": text for n, text in enumerate(LETTERED.values())},
        ),
        (converters.convert_medmcqa, QUESTION | COLUMNS | {"cop": 1}),
        (converters.convert_medmcqa_release, QUESTION | COLUMNS | {"cop": 2}),
        (converters.convert_medmcqa, QUESTION | {"options": LETTERED, "answer": "B", "subject": "Nutrition"}),
    ],
)
def test_questions_come_with_their_options_in_order_and_the_right_one(convert, row):
    (item,) = convert(row)
    assert (item["id"], item["question"]) == ("q1", QUESTION["question"])
    assert item["options"] == list(LETTERED.values())
    assert item["answer"] == 1


def test_a_question_without_a_label_is_no_item():
    assert converters.convert_medmcqa(QUESTION | COLUMNS | {"cop": -1}) == []


@pytest.mark.parametrize(
    ("row", "split"),
    [
        (
            {
                "pubid": 7,
                "question": "Do runners fall ill?",
                "context": {"contexts": ABSTRACT},
                "final_decision": "maybe",
            },
            "test",
        ),
        (
            {"id": "7", "QUESTION": "Do runners fall ill?", "CONTEXTS": ABSTRACT, "final_decision": "maybe"},
            "test",
        ),
        (
            {"id": "7", "question": "Do runners fall ill?", "context": " ".join(ABSTRACT), "answer": "maybe"},
            "test",
        ),
        (
            {
                "id": "7",
                "split": "train_dev",
                "question": "Do runners fall ill?",
                "context": ABSTRACT,
                "answer": "maybe",
            },
            "train",
        ),
    ],
)
def test_abstracts_come_whole_with_yes_no_or_maybe(row, split):
    (item,) = converters.convert_pubmedqa(row)
    assert item == {
        "id": "7",
        "context": "We followed forty runners. Ten fell ill.",
        "question": "Do runners fall ill?",
        "options": ["yes", "no", "maybe"],
        "answer": 2,
        "split": split,
    }


@pytest.mark.parametrize("tags", [["O", "B-Disease", "I-Disease", "B-Disease", "O"], [0, 1, 2, 1, 0]])
def test_tagged_tokens_become_mentions_each_once(tags):
    key = "tags" if isinstance(tags[0], str) else "ner_tags"
    (item,) = converters.convert_ncbi_disease(
        {"tokens": ["In", "cystic", "fibrosis", "asthma", "varies"], key: tags}
    )
    assert item["text"] == "In cystic fibrosis asthma varies"
    assert item["gold"] == [{"forms": ["cystic fibrosis"]}, {"forms": ["asthma"]}]
    assert converters.convert_ncbi_disease({"tokens": ["None", "here"], key: tags[:1] * 2}) == []


def test_a_case_report_gives_one_item_a_line_that_names_a_medication():
    text = "He took aspirin and Aspirin.\nHe slept.\nThen warfarin low dose."
    spans = [
        ("Medication", "8 15"),
        ("Medication", "20 27"),
        ("Sign_symptom", "32 37"),
        ("Medication", "44 52;53 56"),
    ]
    release = {"id": "1", "text": text, "entities": [{"type": kind, "spans": span} for kind, span in spans]}
    items = converters.convert_maccrobat(release)
    assert [item["text"] for item in items] == ["He took aspirin and Aspirin.", "Then warfarin low dose."]
    assert [item["gold"] for item in items] == [[{"forms": ["aspirin"]}], [{"forms": ["warfarin low"]}]]
    hub = {"full_text": text, "ner_info": [{"label": "MEDICATION", "start": 8, "end": 15, "text": "aspirin"}]}
    assert [item["gold"] for item in converters.convert_maccrobat(hub)] == [[{"forms": ["aspirin"]}]]


def test_a_pronoun_that_stands_twice_is_left_out():
    row = {
        "doc": "9",
        "split": "dev",
        "context": "The liver grew; it failed.",
        "pronoun": "it",
        "antecedent": "The liver",
        "all_antecedents": ["The liver"],
    }
    (item,) = converters.convert_craft(row)
    assert (item["gold"], item["split"]) == ({"forms": ["The liver"]}, "train")
    assert converters.convert_craft(row | {"context": "It grew; the liver, it failed."}) == []


def test_dialogues_name_their_section_in_words():
    (item,) = converters.convert_mts_dialog(
        {
            "ID": "3",
            "section_header": "FAM/SOCHX",
            "section_text": "Smokes.",
            "dialogue": "Doctor: Smoke? Patient: Yes.",
        }
    )
    assert item == {
        "id": "3",
        "section": "family and social history",
        "text": "Doctor: Smoke? Patient: Yes.",
        "references": ["Smokes."],
    }


def test_questions_without_an_answer_are_no_items():
    assert converters.convert_medquad({"id": "1", "question": "What is gout?", "answer": None}) == []
    assert converters.convert_icliniq({"input": "What is gout?", "answer_icliniq": "A painful joint."})[0][
        "references"
    ] == ["A painful joint."]


def test_lots_give_about_one_row_in_ten_to_demonstrations():
    drawn = [converters.draw_split(str(n)) for n in range(1000)]
    assert 60 < drawn.count("train") < 140


RELEASES = {
    "medqa": {
        "phrases_no_exclude_test.jsonl": [
            QUESTION | {"options": LETTERED, "answer": "vitamin C", "answer_idx": "B"}
        ]
    },
    "medmcqa": {"dev.json": [QUESTION | COLUMNS | {"cop": 2}]},
    "mts_dialog": {
        "MTS-Dialog-TestSet-1-MEDIQA-Chat-2023.csv": 'ID,section_header,section_text,dialogue\n0,CC,"Cough, '
        'dry.",Doctor: What is it? Patient: A cough.\n',
        "MTS-Dialog-TrainingSet.csv": "ID,section_header,section_text,dialogue\n0,ALLERGY,None.,Doctor: "
        "Allergies? Patient: No.\n",
    },
    "ncbi_disease": {
        "test.tsv": "Asthma\tB-Disease\nvaries\tO\n\nNothing\tO\n",
        "train.tsv": "Gout\tB-Disease\nhurts\tO\n",
    },
}


def write_release(task, folder):
    folder.mkdir()
    for name, content in RELEASES[task].items():
        text = content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content)
        (folder / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize("task", RELEASES)
def test_files_of_the_public_release_are_found_by_name_in_the_folder_or_one_below(task, tmp_path):
    write_release(task, tmp_path / "below")
    items, demonstration = load_items(PUBLIC_TASKS[task], tmp_path)
    assert len(items) == 1
    assert (demonstration is None) == (PUBLIC_TASKS[task].n_shots == 0)
    assert build_task_prompt(PUBLIC_TASKS[task], items[0], demonstration).text.endswith("### Response:\n")


def test_all_sentences_hold_those_without_a_disease_and_change_no_item_that_names_one(tmp_path):
    write_release("ncbi_disease", tmp_path / "set")
    named, shown = load_items(PUBLIC_TASKS["ncbi_disease"], tmp_path)
    every, same = load_items(PUBLIC_TASKS["ncbi_disease_all"], tmp_path)
    assert [(item.id, item.text) for item in every[:1]] == [(item.id, item.text) for item in named]
    assert [(item.text, item.gold) for item in every[1:]] == [("Nothing", [])]
    assert (same.text, same.gold) == (shown.text, shown.gold)
    assert PUBLIC_TASKS["ncbi_disease_all"].write_reference(every[1]) == "none"


def test_pubmedqa_is_read_from_its_mapping_and_maccrobat_from_brat(tmp_path):
    row = {"QUESTION": "Do runners fall ill?", "CONTEXTS": ABSTRACT, "final_decision": "yes"}
    (tmp_path / "ori_pqal.json").write_text(json.dumps({"7": row, "8": row}))
    assert [item.id for item in load_items(PUBLIC_TASKS["pubmedqa"], tmp_path)[0]] == ["7", "8"]
    names = [
        next(str(n) for n in range(100) if converters.draw_split(str(n)) == split)
        for split in ("train", "test")
    ]
    for name in names:
        (tmp_path / f"{name}.txt").write_text(f"He took aspirin {name}.\n")
        (tmp_path / f"{name}.ann").write_text("T1\tMedication 8 15\taspirin\nE1\tMedication:T1\n")
    items, demonstration = load_items(PUBLIC_TASKS["maccrobat_medications"], tmp_path)
    assert (items[0].text, demonstration.text) == (
        f"He took aspirin {names[1]}.",
        f"He took aspirin {names[0]}.",
    )


def test_the_users_own_file_in_the_embedded_format_goes_before_all_else(tmp_path):
    own = {
        "id": "mine",
        "split": "test",
        "context": "",
        "question": "Is it?",
        "options": ["yes", "no"],
        "answer": 0,
    }
    for task in ("bioasq", "medqa", "exam_choice"):
        (tmp_path / f"{task}.jsonl").write_text(json.dumps(own) + "\n")
        assert [item.id for item in load_items(find_task(task), tmp_path)[0]] == ["mine"]


def test_further_rows_of_an_id_are_left_out_with_a_warning(tmp_path):
    rows = [QUESTION | {"options": LETTERED, "answer": letter} for letter in "BBC"]
    (tmp_path / "medqa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.warns(UserWarning, match="medqa: 2 of 3 rows are left out, first q1: an earlier row"):
        [item] = load_items(PUBLIC_TASKS["medqa"], tmp_path)[0]
    assert item.answer == 1


def test_rows_that_break_the_schema_are_left_out_with_a_warning(tmp_path):
    twins = QUESTION | {"id": "q2", "options": LETTERED | {"D": "vitamin C"}, "answer": "B"}
    (tmp_path / "medqa.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in (QUESTION | {"options": LETTERED, "answer": "B"}, twins))
    )
    with pytest.warns(UserWarning, match=r"medqa: 1 of 2 rows are left out, first q2: .*must differ"):
        assert len(load_items(PUBLIC_TASKS["medqa"], tmp_path)[0]) == 1


@pytest.mark.parametrize(
    ("task", "content", "message"),
    [
        (
            "medqa",
            None,
            r"needs .*medqa.jsonl in the embedded format \(ChoiceItem.*phrases_no_exclude_test.jsonl",
        ),
        ("bioasq", None, r"needs .*bioasq.jsonl in the embedded format"),
        (
            "medqa",
            {"id": "1", "split": "test", "context": "", "question": "Is it?", "options": ["yes", "no"]},
            r"`answer`: Field required .*medqa.jsonl:1",
        ),
        (
            "craft_pronouns",
            {"id": "1", "split": "train", "text": "It hurts.", "pronoun": "It", "gold": {"forms": ["It"]}},
            "lacks rows with split 'test'",
        ),
        (
            "medquad",
            {"id": "1", "split": "test", "text": "Why?", "references": ["So."]},
            "lacks a row with split 'train'",
        ),
    ],
)
def test_missing_or_wrong_files_say_what_would_do(task, content, message, tmp_path):
    if content:
        (tmp_path / f"{task}.jsonl").write_text(json.dumps(content) + "\n")
    with pytest.raises(StudyError, match=message):
        load_items(PUBLIC_TASKS[task], tmp_path)


def test_a_set_that_no_hub_holds_asks_for_a_file():
    with pytest.raises(StudyError, match="'mednli' cannot be downloaded"):
        load_items(PUBLIC_TASKS["mednli"])


def test_every_public_task_has_a_source_or_waits_for_the_users_file():
    assert set(SOURCES) == set(PUBLIC_TASKS) - {"bioasq", "mednli"}
    assert not set(PUBLIC_TASKS) & set(TASKS)


ROWS = {
    "medqa": 1273,
    "medmcqa": 4162,
    "pubmedqa": 500,
    "ncbi_disease": 538,
    "ncbi_disease_all": 937,
    "maccrobat_medications": 490,
    "craft_pronouns": 372,
    "mts_dialog": 200,
    "medquad": 1770,
}


@pytest.mark.parametrize("task", ROWS)
@pytest.mark.filterwarnings("ignore:medmcqa")
def test_the_real_files_are_read_whole_and_their_own_answers_score_one(task):
    folder = os.environ.get("STUDY_DATA")
    if not folder:
        pytest.skip("STUDY_DATA names no folder with the public sets")
    items, demonstration = load_items(PUBLIC_TASKS[task], Path(folder))
    assert len(items) == ROWS[task]
    assert (demonstration is None) == (PUBLIC_TASKS[task].n_shots == 0)
    if PUBLIC_TASKS[task].score:
        assert all(
            PUBLIC_TASKS[task].score(PUBLIC_TASKS[task].write_reference(item), item)["score"] == 1
            for item in items
        )
    if PUBLIC_TASKS[task].is_choice:
        assert {item.answer for item in items} == set(range(len(items[0].options)))


def test_json_lines_lists_and_mappings_are_told_apart():
    assert list(loaders.read_json('[{"a": 1}]')) == [{"a": 1}]
    assert list(loaders.read_json('{"x": {"a": 1}}')) == [{"id": "x", "a": 1}]
    assert list(loaders.read_json('{"a": 1}\n{"a": 2}\n')) == [{"a": 1}, {"a": 2}]
    assert list(loaders.read_json('{"a": 1}\n')) == [{"a": 1}]


@pytest.mark.parametrize(
    ("convert", "right", "told"),
    [
        (converters.convert_medmcqa, 4, "from 0 to 3"),
        (converters.convert_medmcqa, -2, "from 0 to 3"),
        (converters.convert_medmcqa_release, 0, "from 1 to 4"),
        (converters.convert_medmcqa_release, 5, "from 1 to 4"),
    ],
)
def test_a_medmcqa_file_that_counts_its_options_otherwise_is_refused(convert, right, told):
    """Else each of its answers would be the option beside the right one."""
    rows = [QUESTION | COLUMNS | {"cop": right}]
    with pytest.raises(StudyError, match=f"must lie {told}, but {right} was found"):
        list(loaders.convert_rows(rows, convert, "test", "the file"))


@pytest.mark.parametrize(
    "tags",
    [
        ["B-Disease", "E-Disease", "O"],
        ["O", "S-Disease", "O"],
        ["O", "I-Disease", "O"],
        ["B-Chemical", "O", "O"],
        ["cystic B", "fibrosis I", "hurts O"],
        ["B", "I"],
        [3, 4, 0],
    ],
)
def test_tags_of_other_entities_or_schemes_are_refused(tags):
    """Else mentions would be cut short, left out, or of another kind."""
    rows = [{"tokens": ["cystic", "fibrosis", "hurts"], "tags": tags}]
    with pytest.raises(StudyError, match="each token needs one tag"):
        list(loaders.convert_rows(rows, converters.convert_ncbi_disease, "test", "the file"))


def test_a_mention_that_is_not_what_its_annotation_quotes_is_refused(tmp_path):
    """Such as in a text whose line ends were changed after it was annotated."""
    moved = converters.read_brat("1", "He.\nHe took aspirin.", "T1\tMedication 13 20\taspirin\n")
    with pytest.raises(StudyError, match=r"text was altered: 13 20 is now 'spirin\.', and was 'aspirin'"):
        list(loaders.convert_rows([moved], converters.convert_maccrobat, "test", "the file"))
    gaps = converters.read_brat("1", "He took low dose aspirin.", "T1\tMedication 8 11;17 24\tlow aspirin\n")
    [item] = converters.convert_maccrobat(gaps)
    assert item["gold"] == [{"forms": ["low dose aspirin"]}]


def test_files_of_one_name_in_several_folders_are_refused(tmp_path):
    """A corpus of other entities may have a test.tsv too."""
    write_release("ncbi_disease", tmp_path / "ncbi")
    write_release("ncbi_disease", tmp_path / "other")
    with pytest.raises(StudyError, match=r"test\.tsv .* in .*ncbi and in .*other\. Name the folder"):
        load_items(PUBLIC_TASKS["ncbi_disease"], tmp_path)
    assert len(load_items(PUBLIC_TASKS["ncbi_disease"], tmp_path / "ncbi")[0]) == 1


def test_a_test_item_whose_answer_every_prompt_shows_is_left_out_with_a_warning(tmp_path):
    asked = {"train": ["Fever?"], "test": ["Fever?", "Cough?", "Gout?"]}
    rows = [
        {"id": f"{split} {text}", "split": split, "text": text, "references": [f"Of {text}"]}
        for split, texts in asked.items()
        for text in texts
    ]
    (tmp_path / "patient_answer.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.warns(UserWarning, match="patient_answer: 1 of 3 test items are left out"):
        items, demonstration = load_items(TASKS["patient_answer"], tmp_path)
    assert demonstration.text == "Fever?"
    assert [item.text for item in items] == ["Cough?", "Gout?"]
