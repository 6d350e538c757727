"""What was found, in words and numbers: from the paper's tables and the stored tables of the reference run by
loss, so no model is needed. The first page has the sentences; `results/findings.md` is for those who read no
book.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from helpers.analysis import contrasts, reference_losses, transfer, wording
from helpers.analysis.mixing import forecast
from helpers.analysis.published import claims
from helpers.book.figure_tables import (
    fit_reference_lattice,
    measure_reference_gains,
    measure_reference_synergies,
    select_reference_items,
)
from helpers.models.wheels import name_for_readers
from helpers.records import BASE, SHUFFLED
from helpers.study.grid import LATTICE, SINGLES
from helpers.tuning.controls import MATCHED_LENGTHS

if TYPE_CHECKING:
    import pandas as pd

HEAD = """# What was found

Made from the paper's tables and the stored tables of the reference run by loss; the lessons of the book show
how. *Clearly* means: *p* below 0.05, corrected by Holm's method over its table, and a 95 % interval without
zero. More likely does not mean more often right. Nothing here confirms or refutes the paper's claims, which
are about far larger models. **Not for clinical use.**"""


def say_which_instructions_help() -> str:
    """Return which category of instructions made right answers likelier, on held-out rows and on public test
    sets, and how models tuned on shuffled rows compare.
    """
    on_sets = reference_losses.collect_task_gains(
        reference_losses.read_reference_losses(reference_losses.PUBLIC_SETS)
    )
    stored = reference_losses.read_reference_losses()
    beyond = reference_losses.compare_with_control(stored, SHUFFLED)
    beyond = beyond[beyond["n_rows"] == reference_losses.count_lattice_rows(stored)]
    sentences = [wording.describe_transfer(measure_reference_gains()), wording.describe_task_gains(on_sets)]
    if len(beyond):
        sentences.append(wording.describe_shuffled(beyond))
    return " ".join(sentences)


def say_what_mixtures_add() -> str:
    """Return how pairs of categories compare with their parts, and what held with another number of rows and
    where the lengths of responses match.
    """
    stored = reference_losses.read_reference_losses()
    synergies = measure_reference_synergies()
    by_size = reference_losses.collect_synergies_by_size(stored)
    matched = reference_losses.compare_synergies_with_control(stored, MATCHED_LENGTHS)
    sentences = (
        wording.describe_synergies(synergies),
        wording.describe_better_parts(transfer.best_part_table(select_reference_items(LATTICE))),
        wording.describe_confirmation(synergies, by_size, reference_losses.count_lattice_rows(stored)),
        wording.describe_matched_lengths(matched, by_size),
    )
    return " ".join(filter(None, sentences))


def say_which_mixture() -> str:
    """Return which mixture was recommended for the mean of the categories, and how it fared."""
    found = fit_reference_lattice().found
    gains = forecast.compare_gains(reference_losses.read_reference_losses(), found)
    return forecast.summarise_outcome(found, gains)


def write_findings() -> str:
    """Return all of it as a page of Markdown."""
    import pandas as pd

    ways = claims.summarize_ways(claims.list_all_ways())
    verdicts = pd.DataFrame(
        {
            "gain in": ways["claim"].map(wording.PLAIN_NAMES),
            "claimed": ways["claimed"].map("{:g} %".format),
            "all models": ways["all_models"].map("{:.1f} %".format),
            "verdict": ways["verdict"],
        }
    )
    stored = reference_losses.read_reference_losses()
    model = name_for_readers(stored.manifest["settings"]["tuning"]["model"])
    n_rows, items = reference_losses.count_lattice_rows(stored), select_reference_items([BASE, *SINGLES])
    answers = {
        "Can the headline gains be reproduced from the paper's tables?": [
            f"{(ways['verdict'] == claims.SEVERAL).sum()} of {len(ways)}, as a mean over several models. "
            "*All models*: the relative gain of the mean score, averaged over all models of the paper's "
            "table. The scale of generation starts at 1, so a percentage of it says little.",
            _write_table(verdicts),
        ],
        "Which instructions help which task?": [
            f"{model}, {n_rows} rows of the paper's data per model. How much more likely right answers "
            "became on held-out instructions, in nats per token, with 95 % intervals "
            f"{contrasts.describe_interval(items)} (*: clearly):",
            _write_table(wording.tabulate_gains(measure_reference_gains(), "trained_on", "tuned on")),
            say_which_instructions_help(),
        ],
        "Is a mixture more than its parts?": [say_what_mixtures_add()],
        "How many rows of each?": [say_which_mixture()],
    }
    parts = [part for question, said in answers.items() for part in (f"## {question}", *said)]
    return "\n\n".join([HEAD, *parts]) + "\n"


def _write_table(table: pd.DataFrame) -> str:
    rows = [table.columns, ["---"] * len(table.columns), *table.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
