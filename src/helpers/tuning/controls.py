"""Controls of a cell: what other than its content could explain its gain?

A control is named after the cell that it belongs to, such as 'qa~shuffled':

- *shuffled*: each prompt gets the response of another row: length, form and the end of text stay, but the
  answer no longer fits (Kung and Peng, 2023).
- *lengths*: every category draws its rows from the same bins of response length, so that no category answers
  longer than another.
- *tokens*: every category draws as many response tokens, instead of as many rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from helpers.errors import StudyError
from helpers.records import ALL, CONTROL_SEPARATOR, SHUFFLED, Instruction
from helpers.tuning.lengths import RowLength
from helpers.tuning.rows import allot_rows, order_by_draw, select_rows

MATCHED_LENGTHS, MATCHED_TOKENS = "lengths", "tokens"
KINDS = (SHUFFLED, MATCHED_LENGTHS, MATCHED_TOKENS)
OTHER = "other"  # holds what fits no category, and so is not a kind of its own to be matched


def split_control(categories: str) -> tuple[str, str]:
    """Return the cell and the kind of a control: ('qa', 'shuffled') of 'qa~shuffled'; no kind for a plain
    cell.

    Raises:
        StudyError: the kind is unknown.
    """
    cell, separator, kind = categories.partition(CONTROL_SEPARATOR)
    if separator and kind not in KINDS:
        raise StudyError(
            f"A control must be one of {', '.join(KINDS)}, but {kind!r} was found ({categories})."
        )
    return (ALL, SHUFFLED) if categories == SHUFFLED else (cell, kind)


def draw_cell_rows(
    rows: Sequence[Instruction], lengths: Mapping[str, RowLength], categories: str, n_rows: int, seed: int
) -> list[Instruction]:
    """Draw the training rows of a cell or of its control, by hash, so that a smaller draw is part of a larger
    (with matched lengths nearly so: the number of rows of each length is rounded).

    Args:
        rows: to draw from.
        lengths: tokens of each row by id.
        categories: of the cell, with the control's kind behind '~'.
        n_rows: rows of the cell; for the control *tokens*, the response tokens of this many average rows.
        seed: of the draw.

    Raises:
        StudyError: there are too few rows.
    """
    cell, kind = split_control(categories)
    if kind not in (MATCHED_LENGTHS, MATCHED_TOKENS):
        return select_rows(rows, cell, n_rows, seed)
    responses = {row.id: lengths[row.id].n_response for row in rows}
    pools = {
        name: order_by_draw([row for row in rows if row.category == name], seed)
        for name in sorted({row.category for row in rows} - {OTHER})
    }
    draw = _match_lengths if kind == MATCHED_LENGTHS else _match_tokens
    counts = allot_rows(cell, n_rows)
    unknown = set(counts) - set(pools)
    if unknown:
        raise StudyError(
            f"A control of {categories!r} needs rows of {sorted(unknown)[0]!r}, but there are none."
        )
    return [row for name, n_wanted in counts.items() for row in draw(pools, responses, name, n_wanted)]


def _match_lengths(
    pools: Mapping[str, Sequence[Instruction]], lengths: Mapping[str, int], category: str, n_wanted: int
) -> list[Instruction]:
    quotas = bin_quotas({name: [lengths[row.id] for row in pool] for name, pool in pools.items()}, n_wanted)
    chosen = []
    for row in pools[category]:
        length_bin = lengths[row.id].bit_length()
        if quotas[length_bin]:
            quotas[length_bin] -= 1
            chosen.append(row)
    if len(chosen) < n_wanted:
        raise StudyError(
            f"{n_wanted} rows of category {category!r} with responses of matched lengths are wanted, but "
            f"only {len(chosen)} are there. Lower `n_rows`."
        )
    return chosen


def bin_quotas(lengths: Mapping[str, Sequence[int]], n_rows: int) -> Counter[int]:
    """Return how many of `n_rows` rows fall into each bin of response length (powers of two): in proportion
    to the smallest share that any category has there, so that all of them can fill it.
    """
    counts = {name: Counter(length.bit_length() for length in found) for name, found in lengths.items()}
    bins = sorted(set().union(*counts.values()))
    least = {b: min(counts[name][b] / len(lengths[name]) for name in lengths) for b in bins}
    total = sum(least.values())
    if not total:
        raise StudyError("No length of response is found in every category, so none can be matched.")
    exact = {b: n_rows * share / total for b, share in least.items()}
    quotas = Counter({b: int(value) for b, value in exact.items()})
    for b in sorted(bins, key=lambda b: quotas[b] - exact[b])[: n_rows - sum(quotas.values())]:
        quotas[b] += 1
    return quotas


def _match_tokens(
    pools: Mapping[str, Sequence[Instruction]], lengths: Mapping[str, int], category: str, n_wanted: int
) -> list[Instruction]:
    means = [sum(lengths[row.id] for row in pool) / len(pool) for pool in pools.values()]
    budget, chosen = n_wanted * sum(means) / len(means), []
    for row in pools[category]:
        if budget < lengths[row.id] / 2:  # half a row or more over the budget: the nearest sum is reached
            if chosen:
                return chosen
            raise StudyError(
                f"A control of {n_wanted} rows has {budget:.0f} response tokens of category {category!r}, "
                f"but its first row alone has {lengths[row.id]}. Raise `n_rows`."
            )
        chosen.append(row)
        budget -= lengths[row.id]
    raise StudyError(
        f"Category {category!r} has too few response tokens for a control of {n_wanted} rows. Lower `n_rows`."
    )
