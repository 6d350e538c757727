"""The page of the book that shows every figure with its files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from helpers.book.gallery import GALLERY
from helpers.files import write_text
from helpers.paths import NOTEBOOKS

PAGE = "gallery.md"
HEAD = """(figure-gallery)=
# The figures

This page shows each figure of the notebooks: of this run, of the reference runs, or of the paper; the lesson
says which. Download it as SVG for the web, as PNG for slides, or as the table behind it (CSV).
{doc}`/reproduce` says how to draw one from your own table.

::::{grid} 1 2 2 2
:gutter: 3

"""
CARD = """:::{{grid-item-card}} {title}
:img-top: {name}.svg
:img-alt: {alt}
:shadow: none

{{numref}}`{label}` in {{doc}}`/{notebook}`

{{download}}`SVG <{name}.svg>` {{download}}`PNG <{name}.png>` {{download}}`CSV <{name}.csv>`
:::

"""

TITLES = {  # where a name alone is too short to find a figure by
    "seed_similarity": "Similarity of all pairs of seeds",
    "pipeline": "From seed tasks to scores",
    "lora": "LoRA's matrices",
    "pair": "Synergy and interaction of a pair",
    "mixture_forecast": "Loss of four mixtures, predicted and measured",
    "rejections": "Rejected tasks by reason",
    "growth": "Parsed and kept tasks by request",
    "saturation": "Novel tasks by request",
    "kept_shares": "Shares of the categories: seeds, kept tasks, paper",
    "root_verbs": "Root verbs and their objects",
    "training_loss": "Training loss and learning rate",
    "scores": "Scores of base and tuned model",
    "differences": "Tuned minus base by task",
    "tuning_sources": "Gain of tuning: paper, reference run by score, this run",
    "single_transfer": "Transfer of single categories",
    "parts": "Parts of the right answer",
    "signal": "Signal to noise by endpoint",
    "single_scores": "Scores of single categories by task",
    "gains": "Gains of single categories by task",
    "controls": "Controls of one category",
    "reference_transfer": "Transfer in the reference run by loss",
    "reference_task_gains": "Gains on public test sets in the reference run by loss",
    "reference_size_gains": "Gain by model and number of rows in the reference run by loss",
    "single_sources": "Gain of one category: paper, reference run by score, this run",
    "lattice": "Lattice of subsets",
    "transfer": "Transfer of all subsets and controls",
    "additions": "What a second category adds",
    "synergies": "Synergy of pairs",
    "interactions": "Interaction of pairs",
    "shapley": "Shapley values",
    "sizes": "Gain and synergy by number of rows",
    "reference_synergies": "Synergy of pairs in the reference run by loss",
    "addition_sources": "What a second category adds: paper, reference run by score",
    "mixture_predictions": "Loss of mixtures, predicted and observed",
    "mixture_triangle": "Predicted loss of all mixtures",
    "published_table1": "Paper: Table 1, question answering",
    "published_table2": "Paper: Table 2, extraction",
    "published_table3_judged": "Paper: Table 3, judged by GPT-4",
    "published_table3_automatic": "Paper: Table 3, automatic measures",
    "published_claims": "Paper: ways to form the headline gains",
    "published_table4": "Paper: Table 4 beside Figure 2",
    "published_transfer": "Paper: Figure 2 as a transfer matrix",
    "published_figure2": "Paper: Figure 2, subsets of categories",
    "published_figure3": "Paper: Figure 3, number of rows",
    "published_sizes": "Paper: gain against size",
}


def write_gallery(names: Iterable[str], folder: Path) -> None:
    """Write the page that shows the figures of a folder, `gallery.md`, beside them.

    Args:
        names: figures of the gallery that the folder holds as `<name>.svg`, `.png` and `.csv`.
        folder: the folder, in the book's.
    """
    alternatives = read_alternatives()
    cards = []
    for name in names:
        label = label_figure(name)
        facts = {
            "title": TITLES.get(name, name.replace("_", " ").capitalize()),
            "alt": alternatives[label],
            "label": label,
            "notebook": GALLERY[name].notebook,
        }
        cards.append(CARD.format(name=name, **facts))
    write_text(folder / PAGE, HEAD + "".join(cards) + "::::\n")


def label_figure(name: str) -> str:
    """Return the label under which the book knows a figure of the gallery."""
    return "fig-" + name.replace("_", "-")


def read_alternatives() -> dict[str, str]:
    """Return the alternative text of each figure of the notebooks by its label."""
    import nbformat

    cells = [
        cell
        for path in sorted(NOTEBOOKS.glob("*.ipynb"))
        for cell in nbformat.read(path, as_version=4).cells
        if "mystnb" in cell.metadata
    ]
    return {
        cell.metadata["mystnb"]["figure"]["name"]: cell.metadata["mystnb"]["image"]["alt"] for cell in cells
    }
