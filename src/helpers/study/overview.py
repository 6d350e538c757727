"""What each stage of a study puts out, in numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from helpers.evaluation.tasks import parse_tasks

if TYPE_CHECKING:
    import pandas as pd

    from helpers.study.study import Study


def count_stages(study: Study) -> pd.DataFrame:
    """Return what each stage puts out: stage, quantity, n. No model is run for it."""
    import pandas as pd

    facts, settings = study.synthesis_run.manifest["facts"], study.evaluation_settings
    rows = [
        ("Seed tasks", "written for this study", len(study.seed_tasks)),
        ("Teacher", "replies", facts["n_replies"]),
        ("Teacher", "tasks in them", facts["n_tasks"]),
        ("Filters", "kept", facts["n_kept"]),
        ("Filters", "rejected", facts["n_tasks"] - facts["n_kept"]),
        ("LoRA tuning", "training rows per model", study.tuning_settings.n_rows),
        ("Test", "tasks", len(parse_tasks(settings.tasks))),
        ("Test", "items per task at most", settings.n_items),
    ]
    return pd.DataFrame(rows, columns=["stage", "quantity", "n"])
