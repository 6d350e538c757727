"""Categories as players: exact Shapley values and interaction indices over the lattice.

For one category of tasks, v(S) is the mean score of the cell tuned on the subset S of categories, and v of no
category the base model's. Every index here is a weighted sum of such cells, so it gets its interval like
any other contrast.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from math import factorial
from typing import TYPE_CHECKING

from helpers.analysis.contrasts import contrast_by_category
from helpers.analysis.transfer import synergy_contrasts
from helpers.records import BASE
from helpers.study.grid import SINGLES, name_subset

if TYPE_CHECKING:
    import pandas as pd

MADE_UP = {"qa": 0.06, "gen": 0.02, "qa+gen": 0.05}  # gains of an example, over the base model


def list_subsets(players: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield every subset of some players, the empty one first."""
    for size in range(len(players) + 1):
        yield from combinations(players, size)


def shapley_weights(players: Sequence[str], player: str) -> dict[str, float]:
    """Return the weights of cells whose sum is a player's Shapley value: what it adds, on average over all
    orders in which the players can come.

    phi(i) = sum over S without i of |S|! (n - |S| - 1)! / n! * (v(S and i) - v(S)) (Shapley, 1953).
    """
    return interaction_weights(players, (player,))


def interaction_weights(players: Sequence[str], group: Sequence[str]) -> dict[str, float]:
    """Return the weights of cells whose sum is the Shapley interaction index of a group of players.

    I(T) = sum over S without T of |S|! (n - |S| - |T|)! / (n - |T| + 1)! * sum over L in T of (-1)^(|T| -
    |L|) v(S and L) (Grabisch and Roubens, 1999). For one player it is the Shapley value; for all players
    together the last term of the Moebius transform.
    """
    n, size = len(players), len(group)
    weights: dict[str, float] = {}
    for others in list_subsets([player for player in players if player not in group]):
        share = factorial(len(others)) * factorial(n - len(others) - size) / factorial(n - size + 1)
        for part in list_subsets(group):
            cell = name_subset((*others, *part))
            weights[cell] = weights.get(cell, 0.0) + share * (-1) ** (size - len(part))
    return weights


def pair_weights(first: str, second: str) -> dict[str, float]:
    """Return the weights of v(AB) - v(A) - v(B) + v(0): the interaction of two categories with nothing else
    beside them.
    """
    return interaction_weights((first, second), (first, second))


def shapley_table(items: pd.DataFrame, players: Sequence[str] = SINGLES) -> pd.DataFrame:
    """Return the Shapley value of each category of instructions (`trained_on`) on each category of tasks
    (`tested_on`).

    On one category of tasks they sum to the gain of the mixture of all over the base model.
    """
    weights = {player: shapley_weights(players, player) for player in players}
    return contrast_by_category(items, weights).rename(columns={"contrast": "trained_on"})


def interaction_table(items: pd.DataFrame, players: Sequence[str] = SINGLES) -> pd.DataFrame:
    """Return v(AB) - v(A) - v(B) + v(0) of each pair of categories (`contrast`) on each category of tasks
    (`tested_on`): zero where gains add up.
    """
    return contrast_by_category(
        items, {name_subset(pair): pair_weights(*pair) for pair in combinations(players, 2)}
    )


def interaction_index_table(items: pd.DataFrame, players: Sequence[str] = SINGLES) -> pd.DataFrame:
    """Return the Shapley interaction index of every group of two or more categories (`contrast`) on each
    category of tasks (`tested_on`).
    """
    groups = [group for group in list_subsets(players) if len(group) > 1]
    return contrast_by_category(
        items, {name_subset(group): interaction_weights(players, group) for group in groups}
    )


def explain_pair(gains: Mapping[str, float] = MADE_UP) -> pd.DataFrame:
    """Return the gains of two categories and of their pair, their mean and sum, and the pair's synergy and
    interaction by the weights that a study's tables use.

    Args:
        gains: over the base model, by cell: two categories, then their pair.

    Returns:
        quantity ('part' twice, 'mean', 'pair', 'sum', 'synergy', 'interaction'), cell, estimate.
    """
    import pandas as pd

    *parts, pair = gains
    weights = {"synergy": synergy_contrasts(parts)[pair], "interaction": pair_weights(*parts)}
    values = {BASE: 0.0, **gains}
    rows = [("part", part, gains[part]) for part in parts]
    total = sum(gains[part] for part in parts)
    rows += [("mean", pair, total / len(parts)), ("pair", pair, gains[pair]), ("sum", pair, total)]
    for name, own in weights.items():
        rows.append((name, pair, sum(weight * values[cell] for cell, weight in own.items())))
    return pd.DataFrame(rows, columns=["quantity", "cell", "estimate"])
