"""What each stage of a study puts out, in numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from helpers.evaluation.tasks import parse_tasks
from helpers.jsonl import read_rows
from helpers.records import Instruction

if TYPE_CHECKING:
    import pandas as pd

    from helpers.study.study import Study


def count_stages(study: Study) -> pd.DataFrame:
    """Return what each stage puts out: stage, quantity, n. No model is run for it.

    Where the study's rows come from a file, that file takes the place of seed tasks, teacher and filters.
    """
    import pandas as pd

    if study.instructions:
        rows = [("Instructions", "rows of a file", len(read_rows(study.all_rows_file, Instruction)))]
    else:
        facts = study.synthesis_run.manifest["facts"]
        rows = [
            ("Seed tasks", "written for this study", len(study.seed_tasks)),
            ("Teacher", "replies", facts["n_replies"]),
            ("Teacher", "tasks in them", facts["n_tasks"]),
            ("Filters", "kept", facts["n_kept"]),
            ("Filters", "rejected", facts["n_tasks"] - facts["n_kept"]),
        ]
    settings = study.evaluation_settings
    rows += [
        ("LoRA tuning", "training rows per model", study.tuning_settings.n_rows),
        ("Test", "tasks", len(parse_tasks(settings.tasks, public=True))),
        ("Test", "items per task at most", settings.n_items),
    ]
    return pd.DataFrame(rows, columns=["stage", "quantity", "n"])
