"""Categories without a teacher: a small classifier trained on our own labelled tasks, and how far labellers
agree.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.files import sha256_file, write_text
from helpers.jsonl import read_rows
from helpers.paths import SEED_TASKS, SEEDS
from helpers.records import SeedTask, TeacherReply
from helpers.store import Run, run_stage
from helpers.synthesis.novelty import NoveltyIndex
from helpers.synthesis.parsing import ParsedTask, parse_reply
from helpers.synthesis.settings import FilterSettings
from helpers.synthesis.teacher import REPLIES

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

SECOND_LABELS = SEEDS / "second_labels.csv"
AGREEMENT = "agreement.csv"
VERSION = 1
N_FOLDS = 5
N_RESAMPLES = 500
SEED = 2024


def load_examples() -> pd.DataFrame:
    """Return the labelled tasks that the classifier learns from, without near-duplicates: id, group (the
    request it came from), category, text. What is near is said by the default of `novelty_threshold`, not by
    a study's own value, so that the classifier is the same in every study.
    """
    import pandas as pd

    rows = []
    for reply in read_rows(REPLIES, TeacherReply):
        for task in parse_reply(reply.text, reply.finish_reason):
            if task.is_complete and task.number in reply.categories:
                name, group = f"r{reply.request:05d}-{task.number:02d}", f"request {reply.request}"
                rows.append(
                    {
                        "id": name,
                        "group": group,
                        "category": reply.categories[task.number],
                        "instruction": task.instruction,
                        "text": describe_task(task),
                    }
                )
    examples = pd.DataFrame(rows)
    is_new = [
        new
        for new, _ in NoveltyIndex(FilterSettings.novelty_threshold).add(
            examples.pop("instruction").to_list()
        )
    ]
    return examples[is_new].reset_index(drop=True)


def describe_task(task: Any) -> str:
    """Return what the classifier sees of a task: its instruction, and whether there is an input; more text
    made it worse on held-out requests.
    """
    return f"{task.instruction} {'withinput' if task.input else 'withoutinput'}"


def build_classifier() -> Pipeline:
    """Return the classifier, untrained: a linear support vector machine on words, pairs of words and letter
    sequences.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.svm import LinearSVC

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), min_df=2, sublinear_tf=True)
    return make_pipeline(make_union(words, letters), LinearSVC(class_weight="balanced", random_state=SEED))


def train_labeller() -> Callable[[Sequence[ParsedTask]], list[str]]:
    """Train the classifier on all labelled tasks, seeds included; returns the function that labels tasks."""
    examples, seeds = load_examples(), read_rows(SEED_TASKS, SeedTask)
    texts = [*examples["text"], *map(describe_task, seeds)]
    classifier = build_classifier().fit(texts, [*examples["category"], *(seed.category for seed in seeds)])
    return lambda tasks: classifier.predict([describe_task(task) for task in tasks]).tolist()


def label_held_out(examples: pd.DataFrame) -> list[str]:
    """Return the classifier's label of every example, each given by a classifier that saw no task of the same
    request.
    """
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

    folds = StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=SEED)
    return cross_val_predict(
        build_classifier(), examples["text"], examples["category"], groups=examples["group"], cv=folds
    ).tolist()


def read_second_labels() -> dict[str, str]:
    """Return the labels of the second reader by id of the task; they were given blind to the first ones."""
    with SECOND_LABELS.open(encoding="utf-8", newline="") as file:
        return {row["id"]: row["category"] for row in csv.DictReader(file)}


def measure_agreement(first: Sequence[str], second: Sequence[str]) -> dict[str, float]:
    """Return how far two labellers agree: n, and accuracy, Cohen's kappa and Krippendorff's alpha (nominal)
    with 95 % intervals.

    Intervals are percentiles of a bootstrap over tasks. Kappa: Cohen (1960); alpha: Krippendorff (2004), the
    measure of the paper (section "Data collection").
    """
    import numpy as np

    names = sorted({*first, *second})
    pair = np.array([[names.index(label) for label in labels] for labels in (first, second)])
    rng = np.random.default_rng(SEED)
    resamples = [_agree(pair[:, rng.integers(0, pair.shape[1], pair.shape[1])]) for _ in range(N_RESAMPLES)]
    row: dict[str, float] = {"n": pair.shape[1]}
    for index, (name, value) in enumerate(zip(("accuracy", "kappa", "alpha"), _agree(pair), strict=True)):
        low, high = np.nanpercentile([resample[index] for resample in resamples], [2.5, 97.5])
        row |= {name: value, f"{name}_low": float(low), f"{name}_high": float(high)}
    return row


def _agree(pair: Any) -> tuple[float, float, float]:
    """Return accuracy, Cohen's kappa and Krippendorff's alpha of two complete raters.

    Alpha draws the pairs of labels without replacement where Fleiss' kappa draws with it: of n tasks, hence
    2n labels, 1 - alpha = (1 - kappa) (2n - 1) / 2n.
    """
    import numpy as np
    from sklearn.metrics import cohen_kappa_score
    from statsmodels.stats.inter_rater import fleiss_kappa

    accuracy = float(np.mean(pair[0] == pair[1]))
    names = np.unique(pair)
    if len(names) == 1:  # agreement beyond chance has no meaning with one category
        return accuracy, float("nan"), float("nan")
    n_labels = pair.size
    fleiss = fleiss_kappa((pair[:, :, None] == names).sum(axis=0))
    alpha = 1 - (1 - float(fleiss)) * (n_labels - 1) / n_labels
    return accuracy, float(cohen_kappa_score(*pair)), alpha


def compare_labellers() -> Run:
    """Say how far writer, second reader and held-out classifier agree.

    Returns:
        A run with `agreement.csv`: comparison, n, and each measure with its interval.
    """

    def compute(folder: Path) -> dict[str, int]:
        write_text(folder / AGREEMENT, tabulate_agreement().round(4).to_csv(index=False))
        return {"n_resamples": N_RESAMPLES}

    files = (REPLIES, SECOND_LABELS)
    return run_stage("agreement", {}, {file.name: sha256_file(file) for file in files}, VERSION, compute)


def tabulate_agreement() -> pd.DataFrame:
    """Return the agreement of each pair of labellers: comparison, n, and each measure with its interval."""
    import pandas as pd

    examples = load_examples()
    examples["classifier"] = label_held_out(examples)
    twice = examples.assign(second=examples["id"].map(read_second_labels())).dropna(subset="second")
    pairs = {
        "writer and second reader": (twice["category"], twice["second"]),
        "writer and classifier": (examples["category"], examples["classifier"]),
        "second reader and classifier": (twice["second"], twice["classifier"]),
    }
    return pd.DataFrame({"comparison": name} | measure_agreement(*pair) for name, pair in pairs.items())
