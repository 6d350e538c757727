"""A made-up table for each figure of the gallery that a study draws, as large as the default study's."""

import numpy as np
import pandas as pd

from helpers.analysis.games import explain_pair
from helpers.book.figure_tables import label_additions, label_pairs, label_sources
from helpers.synthesis.filters import REASONS

SINGLES = ["qa", "ie", "gen"]
PAIRS = ["qa+ie", "qa+gen", "ie+gen"]
CONTROLS = ["shuffled", "qa~lengths", "gen~lengths"]
TASKS = {
    "exam_choice": "qa",
    "broad_choice": "qa",
    "evidence_yesno": "qa",
    "sentence_inference": "qa",
    "medication_status": "ie",
    "coreference_target": "ie",
    "dialogue_summary": "gen",
    "patient_answer": "gen",
    "consultation_note": "gen",
}


def make_tables():
    """Return a table by the name of its figure."""
    random = np.random.default_rng(1)

    def estimate(rows, scale=0.08):
        """Return rows with an estimate, its interval, and p after Holm's correction."""
        middle, reach = random.normal(0.02, scale, len(rows)), random.uniform(0.3, 1.2, len(rows)) * scale
        ends = {"estimate": middle, "low": middle - reach, "high": middle + reach}
        return rows.assign(**ends, p_holm=np.where(np.abs(middle) > 1.5 * reach, 0.01, 0.2))

    def cross(cells, column="trained_on"):
        return estimate(
            pd.DataFrame([{column: cell, "tested_on": name} for cell in cells for name in SINGLES])
        )

    def tasks(cells):
        rows = [
            {"cell": cell, "task": task, "category": category, "metric": "exact match"}
            for task, category in TASKS.items()
            for cell in cells
        ]
        return estimate(pd.DataFrame(rows))

    def parts(kinds):
        names = ("end", "text", "choice", "calibrated")
        return pd.concat(cross(kinds).assign(part=name) for name in names)

    def sources(labels):
        scales = ("accuracy", "F1", "ROUGE-L")
        rows = [
            {"source": source, "label": label, "tested_on": name, "scale": scale}
            for name, scale in zip(SINGLES, scales, strict=True)
            for label in labels
            for source in ("paper", "score_gemma", "score_smollm2", "run")
        ]
        return estimate(pd.DataFrame(rows))

    def shares(kinds):
        rows = [
            {"source": kind, "category": name, "share": 0.25}
            for kind in kinds
            for name in [*SINGLES, "other"]
        ]
        return pd.DataFrame(rows)

    requests = pd.DataFrame({"request": range(1, 49)})
    growth = requests.assign(
        parsed=17 * requests["request"],
        kept=15 * requests["request"],
        share_new=1 - random.uniform(0, 0.01, 48) * requests["request"],
    )
    scores = tasks(["base", *SINGLES]).assign(
        estimate=random.uniform(0.1, 0.8, 36), low=lambda t: t.estimate - 0.1, high=lambda t: t.estimate + 0.1
    )
    added = pd.DataFrame(
        [{"target": one, "added": other} for one in SINGLES for other in SINGLES if one != other]
    )
    similar = np.triu(random.uniform(0.05, 0.5, (80, 80)), 1)
    grid = np.array([(i, j, 12 - i - j) for i in range(13) for j in range(13 - i)]) / 12
    triangle = pd.DataFrame(grid, columns=["share_qa", "share_ie", "share_gen"]).assign(
        loss=lambda t: 1.2 + (t.share_qa - 0.4) ** 2 + 0.5 * t.share_ie**2,
        indistinguishable=lambda t: t.loss < 1.23,
    )
    predictions = pd.DataFrame(
        [
            {"category": name, "kind": kind, "observed": value, "predicted": value + 0.01}
            for name in SINGLES
            for kind in ("fitted", "mixture", "rows")
            for value in random.uniform(1.2, 1.8, 5)
        ]
    )
    signals = pd.DataFrame(
        [
            {"endpoint": name, "task": task, "signal_to_items": random.uniform(0.2, 6)}
            for name in ("loss", "text", "score")
            for task in TASKS
        ]
    )
    sizes = [
        {"quantity": quantity, "n_rows": size, "tested_on": name}
        for quantity in ("gain", "synergy")
        for name in SINGLES
        for size in (12, 24, 48)
    ]
    steps = np.arange(24)
    return {
        "seed_shares": shares(["seeds", "paper"]),
        "seed_lengths": pd.DataFrame(
            {
                "field": np.repeat(["instruction", "input", "output"], 80),
                "words": random.integers(1, 150, 240),
            }
        ),
        "seed_similarity": pd.DataFrame(similar + similar.T + np.eye(80)),
        "pipeline": pd.DataFrame(
            [
                ("Seed tasks", "written for this study", 80),
                ("Teacher", "replies", 1048),
                ("Teacher", "tasks in them", 25816),
                ("Filters", "kept", 22731),
                ("Filters", "rejected", 3085),
                ("LoRA tuning", "training rows per model", 48),
                ("Test", "tasks", 9),
                ("Test", "items per task at most", 12),
            ],
            columns=["stage", "quantity", "n"],
        ),
        "rejections": pd.DataFrame({"reason": REASONS, "n": random.integers(0, 40, len(REASONS))}),
        "growth": growth,
        "saturation": growth,
        "kept_shares": shares(["seeds", "kept", "paper"]),
        "root_verbs": pd.DataFrame(
            [
                {"verb": f"summarize{n}", "n": 40 - n, "object": thing, "n_object": 2}
                for n in range(20)
                for thing in ("summary", "explanation", "diagnosis", "question")
            ]
        ),
        "lora": pd.DataFrame(
            [("W", 1536, 576, False), ("B", 1536, 16, True), ("A", 16, 576, True)],
            columns=["matrix", "n_rows", "n_columns", "learnt"],
        ),
        "training_loss": pd.DataFrame(
            {"step": steps, "loss": 2 + 1 / (1 + steps), "learning_rate": 0.001 * (1 - steps / 24)}
        ),
        "scores": scores[scores["cell"].isin(["base", "qa"])].replace({"cell": {"qa": "all"}}),
        "differences": tasks(["all"]),
        "tuning_sources": sources(["Question answering", "Generation, concept F1"]),
        "single_scores": scores,
        "gains": tasks(SINGLES),
        "single_transfer": cross(SINGLES),
        "reference_transfer": cross(SINGLES),
        "parts": parts(SINGLES),
        "controls": parts(["rows as they are", "shuffled responses", "matched lengths"]),
        "signal": signals,
        "single_sources": sources([f"{name.upper()} on these tasks" for name in SINGLES]),
        "lattice": cross([*SINGLES, *PAIRS, "qa+ie+gen"]),
        "transfer": cross([*SINGLES, *PAIRS, "qa+ie+gen", *CONTROLS]),
        "pair": explain_pair(),
        "additions": label_additions(estimate(added)),
        "synergies": label_pairs(cross(PAIRS, "contrast")),
        "interactions": label_pairs(cross(PAIRS, "contrast")),
        "reference_synergies": label_pairs(cross(PAIRS, "contrast")),
        "shapley": cross(SINGLES),
        "sizes": estimate(pd.DataFrame(sizes)),
        "mixture_predictions": predictions,
        "mixture_triangle": triangle,
        "addition_sources": label_sources(sources([""]).merge(added, left_on="tested_on", right_on="target")),
    }
