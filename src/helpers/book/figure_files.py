"""The files of the figures: each as SVG, PNG and CSV, drawn again only where table or code differ."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl

from helpers.book import gallery
from helpers.book.build_stamps import BuildStamp, identify_code
from helpers.figures.style import use_theme
from helpers.files import sha256_text, write_bytes, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from helpers.study.study import Study

ENDINGS = ("csv", "svg", "png")


def save_figures(find_study: Callable[[str], Study], folder: Path) -> Iterator[str]:
    """Save every figure as SVG and PNG with its table as CSV beside it; yields each name once its files are
    written. What the folder holds already from the same table, settings and code is not drawn again.

    A figure whose table is empty, such as a size curve without sizes, is left out, and taken away where other
    parameters drew it.

    Args:
        find_study: gives the study of a notebook, by its name (`runner.plan_studies`).
        folder: where the files are written.
    """
    use_theme()
    mpl.use("agg")
    code = identify_code()
    for name, spec in gallery.GALLERY.items():
        study = find_study(spec.notebook)
        table, endpoint = spec.table(study), study.loss_settings.endpoint
        files = [folder / f"{name}.{ending}" for ending in ENDINGS]
        if table.empty:
            for path in files:
                path.unlink(missing_ok=True)  # of other parameters
            continue
        text, options = table.to_csv(index=name == "seed_similarity"), spec.options(study)
        drawn_from = "\n".join((code, endpoint, repr(options), text))
        stamp = BuildStamp(folder / f".{name}", sha256_text(drawn_from))
        if not stamp.is_current():
            write_text(files[0], text)
            figure = gallery.draw(name, table, endpoint, **options)
            _fix_layout(figure)
            for path, left_out in zip(files[1:], ("Date", "Software"), strict=True):
                picture = io.BytesIO()
                figure.savefig(picture, format=path.suffix[1:], metadata={left_out: None})
                write_bytes(path, picture.getvalue())
            stamp.write(files)
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
