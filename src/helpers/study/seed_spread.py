"""How far training seeds move a model, measured once for the notebooks' defaults, for runs of one seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from helpers.paths import RESULTS
from helpers.records import BASE
from helpers.study.endpoints import ENDPOINTS, loss_to_log_likelihood
from helpers.study.grid import SINGLES
from helpers.study.losses import identify_losses, load_losses
from helpers.study.tables import list_differences, read_manifest

if TYPE_CHECKING:
    import pandas as pd

    from helpers.study.study import Study

MEASURED_SEEDS_FOLDER = RESULTS / "training_seeds"
COMPARED_ENTRIES = (
    "settings.tuning",
    "settings.losses.n_held_out",
    "settings.budget",  # an additive one gives mixtures other numbers of rows
    "model",
    "instructions",
    "held_out",
)


def read_measured_seeds(study: Study, endpoint: str, n_rows: int) -> pd.DataFrame | None:
    """Return an endpoint of the base model and the single categories of `n_rows` rows under several training
    seeds on held-out rows, as `results/training_seeds` holds it; None where these were tuned on other rows,
    on another number of them, with another budget, in another way or from another model than the study's, or
    have no such endpoint.
    """
    if ENDPOINTS[endpoint].tasks_only:
        return None
    if list_differences(read_manifest(MEASURED_SEEDS_FOLDER), identify_losses(study), COMPARED_ENTRIES):
        return None
    kept = load_losses(MEASURED_SEEDS_FOLDER)
    if n_rows not in set(kept.cells["n_rows"]):
        return None
    return loss_to_log_likelihood(kept.collect([BASE, *SINGLES], n_rows), endpoint)


def add_spread(items: pd.DataFrame, measured: pd.DataFrame | None) -> pd.DataFrame:
    """Return items of one training seed with `seed_variance`, how far seeds move the cell's mean on the task
    (variance, squared units of the score), and `seed_df`, its degrees of freedom: what
    `contrasts.weigh_spread` takes for the seed component of an interval.

    A cell that was not measured takes the largest variance of those that were. The variance is one of means
    over items, and holds the noise of the items of each seed as well, so intervals are rather too wide.

    Args:
        items: of one seed, as `contrasts.contrast` takes them; those of several come back as they are.
        measured: the same endpoint of cells tuned in the same way under several seeds; None, or another
            endpoint than that of the items: there is no spread to add.
    """
    if measured is None or items["seed"].nunique() > 1 or not set(items["task"]) <= set(measured["task"]):
        return items
    means = measured[measured["cell"] != BASE].groupby(["task", "cell", "seed"])["score"].mean()
    variances = means.unstack("seed").var(axis=1, ddof=1)
    largest = items["task"].map(variances.groupby("task").max())
    own = variances.reindex(list(zip(items["task"], items["cell"], strict=True)))
    own = own.set_axis(items.index).fillna(largest).where(items["cell"] != BASE, 0.0)
    return items.assign(seed_variance=own, seed_df=measured["seed"].nunique() - 1)
