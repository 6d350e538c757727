"""The grid: its settings, and its cells by name (subsets of the categories, mixtures by rows, controls).
`study.cells` tunes one of them and lets it answer.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

from helpers.errors import StudyError
from helpers.records import ALL, BASE, GENERAL, SHUFFLED, order_categories
from helpers.settings import parameter, shorten
from helpers.tuning.controls import split_control
from helpers.tuning.rows import allot_rows, parse_categories, parse_parts, split_equally

STUDY_CONTROLS = (ALL, SHUFFLED, GENERAL)  # of the whole study; those of one cell: `tuning.controls.KINDS`
NO_CELL = "none"
BUDGETS = ("fixed", "additive")
SIZE = re.compile(r"[1-9][0-9]{0,8}")
MAX_CATEGORIES = 6  # of a lattice: its cells double with each
MAX_BYTES = 200  # of a cell's name: with rows, seed and ending it becomes a file's, which may have 255


def name_subset(categories: Iterable[str]) -> str:
    """Return the name of the cell tuned on a subset of categories, whichever is named first; no category is
    the base model.
    """
    return "+".join(order_categories(categories)) or BASE


def normalize_mixture(mixture: str) -> tuple[str, int]:
    """Return the name and the rows of a cell given by rows, such as 'qa:200+gen:100', in the one way that
    cells are stored: a mixture in equal parts is the lattice's cell.

    Raises:
        StudyError: the text is not a mixture.
    """
    parts = dict(parse_parts(mixture))
    if None in parts.values():
        raise StudyError(
            f"A mixture must name the rows of each category, such as qa:200+gen:100, but {mixture!r} was "
            "found."
        )
    counts = {name: parts[name] for name in order_categories(parts)}
    n_rows = sum(counts.values())
    if counts == split_equally(list(counts), n_rows):
        return name_subset(counts), n_rows
    return write_mixture(counts), n_rows


def write_mixture(rows: Mapping[str, int]) -> str:
    """Return rows by category as `mixtures` takes them, such as 'qa:200+gen:100'; categories without rows are
    left out.
    """
    return "+".join(f"{name}:{count}" for name, count in rows.items() if count)


def list_lattice(categories: Sequence[str]) -> tuple[str, ...]:
    """Return every subset of some categories as names of cells, from the base model to the mixture of all of
    them.
    """
    return tuple(
        name_subset(subset)
        for size in range(len(categories) + 1)
        for subset in combinations(categories, size)
    )


SINGLES = ("qa", "ie", "gen")
PAIRS = tuple(name_subset(pair) for pair in combinations(SINGLES, 2))
LATTICE = list_lattice(SINGLES)


@dataclasses.dataclass(frozen=True)
class GridSettings:
    """Parameters of the grid: which cells there are, beside what each is tuned with."""

    lattice: str = parameter(
        "qa+ie+gen",
        "categories whose subsets are the cells, joined by '+'; empty: all categories of the instruction "
        "file",
    )
    budget: str = parameter("fixed", "'fixed': n_rows in all; 'additive': n_rows per category")
    n_seeds: int = parameter(
        1, "training seeds per cell: training_seed, the next one, and so on", minimum=1, maximum=1000
    )
    controls: str = parameter(
        "all",
        "control cells joined by commas: all (one control: rows of every category in its natural share, "
        "other too), shuffled, general, or of a category: qa~shuffled, qa~lengths (rows whose response "
        "lengths match those of the other categories), qa~tokens (as many response tokens as the others)",
    )
    general: str = parameter("", "rows of another domain (JSONL) for the control 'general'")
    sizes: str = parameter("", "numbers of rows of the size curve, joined by commas; empty: no curve")
    mixtures: str = parameter("", "further cells by rows, joined by commas, such as qa:200+gen:100")

    answers: str = parameter(
        "all",
        "cells that answer the tasks, for scores beside the losses: all (every cell), none, or names joined "
        "by commas",
    )

    def check_names(self) -> None:
        """Check what types and ranges do not show.

        Raises:
            StudyError: a value names something unknown.
        """
        self._check_lattice()
        self._check_lengths()
        if self.budget not in BUDGETS:
            raise StudyError(f"`budget` must be one of {BUDGETS}, but {self.budget!r} was found.")
        unknown = [name for name in self.control_cells if not is_control(name)]
        if unknown:
            raise StudyError(
                f"`controls` must be some of {', '.join(STUDY_CONTROLS)}, or controls of a cell such as "
                f"qa~shuffled, qa~lengths, qa~tokens, joined by commas, but {unknown[0]!r} was found."
            )
        if GENERAL in self.control_cells and not self.general:
            raise StudyError(
                "`controls` asks for 'general', but `general` is empty. Let it name a JSONL file of "
                "instruction rows."
            )
        if any(not SIZE.fullmatch(size.strip()) for size in filter(None, self.sizes.split(","))):
            raise StudyError(
                f"`sizes` must be whole numbers joined by commas, such as 12,24,48, but {self.sizes!r} was "
                "found."
            )
        self._check_answers()

    def _check_answers(self) -> None:
        mixtures = (normalize_mixture(name)[0] for name in self.mixture_cells)
        known = dict.fromkeys([*self.lattice_cells, *self.control_cells, *mixtures])
        unknown = [] if self.answers in (ALL, NO_CELL) else [n for n in self._answering if n not in known]
        if unknown:
            raise StudyError(
                f"`answers` must be {ALL}, {NO_CELL} or some of {', '.join(known)}, joined by commas, but "
                f"{unknown[0]!r} was found."
            )

    def _check_lattice(self) -> None:
        n = len(parse_categories(self.lattice))
        if n < 2 or ":" in self.lattice:
            raise StudyError(
                f"`lattice` must name two or more categories, joined by '+', but {self.lattice!r} was found."
            )
        if n > MAX_CATEGORIES:
            raise StudyError(
                f"`lattice` must name {MAX_CATEGORIES} categories at most, but {n} were found: {2**n - 1:,} "
                f"models to tune under each of {self.n_seeds} training seeds. Name fewer, or list single "
                "cells in `mixtures`."
            )

    def _check_lengths(self) -> None:
        names = (*self.lattice_cells, *self.control_cells, *self.mixture_cells)
        longest = max(names, key=lambda name: len(name.encode()))
        if len(longest.encode()) > MAX_BYTES:
            raise StudyError(
                f"A cell's name must have at most {MAX_BYTES} bytes, since files are named after it, but "
                f"{shorten(longest)} has {len(longest.encode())}. Shorten the names of its categories, or "
                "name fewer."
            )

    def asks_for_answers(self, name: str) -> bool:
        """Say whether a cell answers the tasks; every cell has losses."""
        return self.answers == ALL or (self.answers != NO_CELL and name in self._answering)

    @property
    def _answering(self) -> list[str]:
        return [name.strip() for name in self.answers.split(",")]

    @property
    def lattice_categories(self) -> tuple[str, ...]:
        """The categories of the lattice, in the study's order."""
        return order_categories(parse_categories(self.lattice))

    @property
    def lattice_cells(self) -> tuple[str, ...]:
        """Every subset of the lattice's categories, the base model first."""
        return list_lattice(self.lattice_categories)

    @property
    def control_cells(self) -> tuple[str, ...]:
        """The names of the control cells."""
        return tuple(name.strip() for name in self.controls.split(",") if name.strip())

    @property
    def mixture_cells(self) -> tuple[str, ...]:
        """The cells given by rows, as `mixtures` names them."""
        names = tuple(name.strip() for name in self.mixtures.split(",") if name.strip())
        for name in names:
            normalize_mixture(name)
        return names

    @property
    def curve_sizes(self) -> tuple[int, ...]:
        """The numbers of rows of the size curve, smallest first."""
        return tuple(sorted({int(size) for size in filter(None, self.sizes.split(","))}))

    def count_rows(self, name: str, n_rows: int) -> int:
        """Return the training rows of a cell: the same number for every cell, or for every category; a
        control is as large as the largest cell of the lattice.
        """
        if name == BASE:
            return 0
        if self.budget == "fixed":
            return n_rows
        whole = split_control(name)[0] in STUDY_CONTROLS
        return n_rows * len(self.lattice_categories if whole else parse_categories(name))


@dataclasses.dataclass(frozen=True)
class CellPlan:
    """A cell to be: what it is tuned on, the number of rows in all, the training seed. The base model has
    neither rows nor seed.
    """

    name: str
    n_rows: int = 0
    seed: int | None = None

    @property
    def id(self) -> str:
        """The name by which commands call the cell, such as 'qa+ie-n48-s1' or 'qa.200+ie.100-n300-s1'; it
        serves as a file's name.
        """
        name = self.name.replace(":", ".")
        return name if name == BASE else f"{name}-n{self.n_rows}-s{self.seed}"


def plan_cells(names: Iterable[str], grid: GridSettings, n_rows: int, first_seed: int) -> list[CellPlan]:
    """Return the cells of some names under every training seed; the base model comes once, since it has none.
    A mixture has the rows that it names.
    """
    sizes = [
        normalize_mixture(name) if ":" in name else (name, grid.count_rows(name, n_rows)) for name in names
    ]
    plans = (
        CellPlan(name) if name == BASE else CellPlan(name, rows, seed)
        for seed in range(first_seed, first_seed + grid.n_seeds)
        for name, rows in sizes
    )
    return list(dict.fromkeys(plans))


def is_control(name: str) -> bool:
    """Say whether a cell is a control, of the whole study or of one cell."""
    return name in STUDY_CONTROLS or bool(split_control(name)[1])


def list_row_columns(name: str, n_rows: int, categories: Iterable[str]) -> dict[str, int]:
    """List the training rows of each category in a cell as columns (`n_qa` and so on), zeros included, for
    the tables of the mixture law; `tuning.rows.allot_rows` decides them.

    Args:
        name: of the cell: 'base', a subset or a mixture of categories.
        n_rows: in all.
        categories: those wanted, present or not.

    Raises:
        StudyError: the cell is a control, whose rows have no fixed categories.
    """
    if is_control(name):
        raise StudyError(f"A cell of known categories is needed, but the control {name!r} was found.")
    rows = {} if name == BASE else allot_rows(name, n_rows)
    return {f"n_{category}": rows.get(category, 0) for category in categories}


def round_shares(shares: Mapping[str, float], n_rows: int) -> dict[str, int]:
    """Return whole rows that add up to `n_rows`; what rounding leaves goes to the largest remainders."""
    rows = {name: int(share * n_rows) for name, share in shares.items()}
    by_remainder = sorted(shares, key=lambda name: rows[name] - shares[name] * n_rows)
    for name in by_remainder[: n_rows - sum(rows.values())]:
        rows[name] += 1
    return rows
