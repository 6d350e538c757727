"""The reference run by loss: the losses of its models, read from its stored tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

from helpers.analysis.contrasts import contrast_by_category, gain_by_task, keep_ablation_tasks
from helpers.analysis.hypotheses import add_holm
from helpers.analysis.transfer import addition_table, synergy_contrasts, synergy_table, transfer_table
from helpers.records import BASE, CONTROL_SEPARATOR
from helpers.study import scores
from helpers.study.endpoints import keep_held_out, keep_tasks, loss_to_log_likelihood
from helpers.study.grid import LATTICE, PAIRS, SINGLES, name_subset
from helpers.study.losses import LossTables, load_losses

if TYPE_CHECKING:
    import pandas as pd

FULL_MIXTURE = name_subset(SINGLES)
SMOLLM2, GEMMA = "smollm2-135m", "gemma-3-270m"
LOWER_RATE = "smollm2-135m-3e-4"  # SmolLM2 tuned with a lower learning rate
PUBLIC_SETS = "smollm2-135m-public-sets"  # SmolLM2 measured on more public test sets and held-out rows


_DOUBLED = "{} doubled"  # a model of twice the rows beside one of the same name


@cache
def read_reference_losses(model: str = SMOLLM2) -> LossTables:
    """Return the losses of the reference run by loss with one of its models, read once."""
    return load_losses(scores.REFERENCE_FOLDER / model / "losses")


def count_lattice_rows(tables: LossTables) -> int:
    """Return the number of training rows of the lattice of the reference run by loss: that at which the most
    cells are.
    """
    return int(tables.cells.groupby("n_rows")["cell"].nunique().idxmax())


def select_loss_items(tables: LossTables, cells: Iterable[str]) -> pd.DataFrame:
    """Return held-out rows of cells of the reference run by loss, minus the loss as `score`, as
    `endpoints.loss_to_log_likelihood` does.
    """
    return _collect_held_out(tables, cells, count_lattice_rows(tables))


def select_answer_items(tables: LossTables, endpoint: str = "text") -> pd.DataFrame:
    """Return the right answers to the items of public test sets under the base model and the singles of the
    reference run by loss, minus the endpoint as `score`, as `endpoints.loss_to_log_likelihood` does.
    """
    found = tables.collect([BASE, *SINGLES], count_lattice_rows(tables))
    return keep_ablation_tasks(loss_to_log_likelihood(keep_tasks(found), endpoint))


def collect_task_gains(tables: LossTables, endpoint: str = "text") -> pd.DataFrame:
    """Return the gain of each single category on each public test set of the reference run by loss: as
    `contrasts.gain_by_task`, with `p_holm` over all of them.
    """
    return add_holm(gain_by_task(select_answer_items(tables, endpoint), SINGLES))


def collect_size_gains(tables: LossTables) -> pd.DataFrame:
    """Return the gains over the base model of the singles and the mixture of all, for each number of rows of
    the reference run by loss that has all of these under one training seed or more.

    Returns:
        n_rows, then as `transfer_table`, where low, high and p are empty under one seed: an interval of the
        items alone would not compare with the others; empty where there is one number of rows only.
    """
    names, frames = [*SINGLES, FULL_MIXTURE], {}
    for size in _list_sizes(tables, names):
        gains = transfer_table(_collect_held_out(tables, [BASE, *names], size), names)
        gains.loc[gains["n_seeds"] == 1, ["low", "high", "p"]] = float("nan")
        frames[size] = gains
    return _join_sizes(frames if len(frames) > 1 else {})


def compare_doubled_rows(tables: LossTables) -> pd.DataFrame:
    """Return what twice as many rows gain in the reference run by loss, for the singles and the mixture of
    all, where both numbers of rows have these under two common training seeds or more. Under one seed the
    larger model has all rows of the smaller one.

    Returns:
        n_rows (of the smaller model), trained_on, tested_on, then of the difference estimate, low, high, p,
        n, n_seeds, and p_holm over all of a number of rows; empty without two such numbers.
    """
    import pandas as pd

    names, frames = [*SINGLES, FULL_MIXTURE], {}
    weights = {name: {_DOUBLED.format(name): 1.0, name: -1.0} for name in names}
    for size in _list_sizes(tables, names):
        seeds = tables.list_seeds((name, n) for name in names for n in (size, 2 * size))
        if len(seeds) < 2:
            continue
        larger = tables.collect(names, 2 * size)
        larger["cell"] = larger["cell"].map(_DOUBLED.format)
        items = pd.concat([tables.collect(names, size), larger], ignore_index=True)
        paired = loss_to_log_likelihood(keep_held_out(items[items["seed"].isin(seeds)]))
        gains = contrast_by_category(paired, weights).rename(columns={"contrast": "trained_on"})
        frames[size] = add_holm(gains)
    return _join_sizes(frames)


def compare_additive_budget(tables: LossTables) -> pd.DataFrame:
    """Return what a second category adds with the additive budget in the reference run by loss: a pair in
    equal parts against its single category with half as many rows, so that no row is displaced.

    Returns:
        As `addition_table`, under the training seeds that have all of these cells; empty without such a seed.
    """
    import pandas as pd

    size = count_lattice_rows(tables)
    seeds = tables.list_seeds(
        [*((pair, size) for pair in PAIRS), *((single, size / 2) for single in SINGLES)]
    )
    if not seeds:
        return pd.DataFrame(columns=["target"])
    items = pd.concat([tables.collect(PAIRS, size), tables.collect(SINGLES, size // 2)], ignore_index=True)
    return addition_table(loss_to_log_likelihood(keep_held_out(items[items["seed"].isin(seeds)])))


def compare_with_control(tables: LossTables, kind: str) -> pd.DataFrame:
    """Return what the rows of a category gain beyond their control in the reference run by loss, where the
    gain of the control rows (`control`) stands beside, for each number of rows at which both are there.

    Args:
        kind: of the control, one of `tuning.controls.KINDS`.

    Returns:
        n_rows, trained_on, tested_on, control (gain over the base model), then of the difference estimate,
        low, high, p, n, n_seeds, and p_holm over the nine of a number of rows; empty without such cells.
    """
    controls = {name: _name_control(name, kind) for name in SINGLES}
    weights = {name: {name: 1.0, control: -1.0} for name, control in controls.items()}
    names, frames = [*controls, *controls.values()], {}
    for size in _list_sizes(tables, names):
        items = _collect_held_out(tables, [BASE, *names], size)
        table = contrast_by_category(items, weights).rename(columns={"contrast": "trained_on"})
        table.insert(2, "control", transfer_table(items, controls.values())["estimate"].to_numpy())
        frames[size] = add_holm(table)
    return _join_sizes(frames)


def collect_synergies_by_size(tables: LossTables) -> pd.DataFrame:
    """Return the synergies of the pairs for each number of rows at which the reference run by loss has the
    whole lattice under two training seeds or more.

    Returns:
        n_rows, then as `synergy_table`, with p_holm of the nine at this number of rows.
    """
    sizes = _list_sizes(tables, LATTICE[1:], n_seeds=2)
    return _join_sizes(
        {size: add_holm(synergy_table(_collect_held_out(tables, LATTICE, size))) for size in sizes}
    )


def compare_synergies_with_control(tables: LossTables, kind: str) -> pd.DataFrame:
    """Return the synergies of the pairs in the lattice, in that of its controls, and the first minus the
    second, for each number of rows at which both lattices are there under two training seeds or more.

    Args:
        kind: of the control, one of `tuning.controls.KINDS`.

    Returns:
        n_rows, rows ('as they are', 'control', 'difference'), contrast (the pair), tested_on, estimate, low,
        high, p, n, n_seeds, and p_holm over the nine of one kind of rows; empty without such cells.
    """
    import pandas as pd

    plain = synergy_contrasts()
    control = {pair: {_name_control(cell, kind): w for cell, w in own.items()} for pair, own in plain.items()}
    minus = {pair: {cell: -weight for cell, weight in own.items()} for pair, own in control.items()}
    weights = {
        "as they are": plain,
        "control": control,
        "difference": {pair: own | minus[pair] for pair, own in plain.items()},
    }
    names, frames = [*LATTICE[1:], *(_name_control(cell, kind) for cell in LATTICE[1:])], {}
    for size in _list_sizes(tables, names, n_seeds=2):
        items = _collect_held_out(tables, names, size)
        kinds = {rows: add_holm(contrast_by_category(items, own)) for rows, own in weights.items()}
        frames[size] = pd.concat(kinds, names=["rows"]).reset_index("rows")
    return _join_sizes(frames)


def _name_control(cell: str, kind: str) -> str:
    return f"{cell}{CONTROL_SEPARATOR}{kind}"


def _list_sizes(tables: LossTables, names: Sequence[str], n_seeds: int = 1) -> list[int]:
    """Return the numbers of rows at which all of some cells are there under `n_seeds` seeds at least."""
    sizes = sorted(set(tables.cells["n_rows"]) - {0})
    return [n for n in sizes if len(tables.list_seeds((name, n) for name in names)) >= n_seeds]


def _collect_held_out(tables: LossTables, names: Iterable[str], n_rows: int) -> pd.DataFrame:
    """Return held-out rows of cells of `n_rows` rows, as `select_loss_items` does."""
    return loss_to_log_likelihood(keep_held_out(tables.collect(names, n_rows)))


def _join_sizes(frames: Mapping[int, pd.DataFrame]) -> pd.DataFrame:
    """Return the tables of some numbers of rows as one, the number as its first column `n_rows`."""
    import pandas as pd

    if not frames:
        return pd.DataFrame(columns=["n_rows"])
    return pd.concat(frames, names=["n_rows"]).reset_index("n_rows").reset_index(drop=True)
