"""The files of the figures: each as SVG, PNG and CSV, drawn again only where table or code differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl

from helpers.book import gallery
from helpers.figures.style import use_theme
from helpers.files import sha256_file, sha256_text, write_text
from helpers.study.endpoints import UNITS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from helpers.study.study import Study


def save_figures(study: Study, folder: Path) -> Iterator[str]:
    """Save every figure as SVG and PNG with its table as CSV beside it; yields each name once its files are
    written. What the folder holds already from the same table and the same code is not drawn again.

    A figure whose table is empty, such as a size curve without sizes, is left out.
    """
    use_theme()
    mpl.use("agg")
    code, unit = _identify_code(), UNITS[study.losses.endpoint]
    for name, drawing in gallery.GALLERY.items():
        table = drawing.table(study)
        if table.empty:
            continue
        text = table.to_csv(index=name == "seed_similarity")
        files = [folder / f"{name}.{ending}" for ending in ("csv", "svg", "png")]
        mark, source = folder / f".{name}", sha256_text("\n".join((code, unit, text)))
        if not _is_drawn(mark, source, files):
            write_text(files[0], text)
            figure = gallery.draw(name, table, unit)
            _fix_layout(figure)
            figure.savefig(files[1], metadata={"Date": None})
            figure.savefig(files[2], metadata={"Software": None})
            write_text(mark, "\n".join((source, *map(sha256_file, files))))
        yield name


def _fix_layout(figure: Figure) -> None:
    """Lay a figure out and keep its axes there, rounded: the last digits of the layout's solver follow the
    order of addresses in memory, and with them the names of clipping paths in an SVG.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for ax in figure.axes:
        ax.set_position([round(value, 6) for value in ax.get_position(original=True).bounds])
        ax.set_in_layout(True)  # set_position leaves the axes out of the tight bounding box


def _is_drawn(mark: Path, source: str, files: Sequence[Path]) -> bool:
    """Return whether a mark says that the files were drawn from a source, and they are as they were."""
    there = all(path.is_file() for path in (mark, *files))
    return there and mark.read_text().splitlines() == [source, *map(sha256_file, files)]


def _identify_code() -> str:
    """Return what stands for the code that draws: this package's files and the versions of its libraries."""
    files = sorted(Path(__file__).parents[1].rglob("*.py"))
    versions = (metadata.version(library) for library in ("matplotlib", "mpltern", "seaborn"))
    return sha256_text("\n".join((*map(sha256_file, files), *versions)))
