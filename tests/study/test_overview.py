"""The numbers of the pipeline's picture."""

from helpers.study.overview import count_stages
from helpers.study.study import Study
from helpers.synthesis.overview import read_parsed_tasks


def look_up(table):
    return table.set_index(["stage", "quantity"])["n"]


def test_what_the_filters_keep_and_reject_is_what_the_replies_held():
    study = Study.from_parameters({"n_requests": 6, "n_rows": 4, "n_items": 2, "tasks": "exam_choice"})
    n, tasks = look_up(count_stages(study)), read_parsed_tasks(study.synthesis_run)
    assert n["Seed tasks", "written for this study"] == len(study.seed_tasks)
    assert n["Teacher", "tasks in them"] == len(tasks)
    assert n["Filters", "kept"] == tasks["reason"].isna().sum()
    assert n["Filters", "rejected"] == tasks["reason"].notna().sum() > 0
    assert (n["LoRA tuning", "training rows per model"], n["Test", "tasks"]) == (4, 1)
