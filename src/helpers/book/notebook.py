"""What every notebook needs: its start, values for the prose, tables and texts shown safely, provenance."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.analysis.intervals import write_intervals, write_number
from helpers.errors import StudyError
from helpers.figures.style import use_theme
from helpers.paths import RESULTS, ROOT, check_checkout, runs_folder, shown
from helpers.store import Run
from helpers.study.study import Study
from helpers.threads import share_cores

if TYPE_CHECKING:
    import pandas as pd
    from IPython.display import HTML

MOST_ROWS = 1000  # of a searchable table: about a megabyte of texts
MOST_SHOWN = 15  # rows of a table that does not scroll
INTERVAL = "estimate [95 % interval]"
NUMBER = ' class="number"'
TEXT = ' style="text-align: left"'  # in the cell: JupyterLab and Colab have no style sheet of ours
WHOLE = ' style="text-align: left; white-space: nowrap"'  # of a text that is not broken
INTERVAL_TEXT = re.compile(r"[+−]?[\d.]+ \[[^\]]+\]\*?")  # such as '0.42 [0.17, 0.67]'
LONGEST_NAME = 30  # characters of a name that stays on one line
COLUMN_NAMES = {
    "contrast": "comparison",
    "p_holm": "p (Holm)",
    "p_t": "p (t test)",
    "p_pooled": "p (pooled)",
    "rouge_l": "ROUGE-L",
    "rouge_at_length": "ROUGE-L, cut to length",
    "conditional": "conditional accuracy",
    "concept_f1": "concept F1",
    "micro_f1": "F1 of all mentions",
    "brier": "Brier",
    "n_words": "words",
    "n_seeds": "training seeds",
    "n_cells": "models",
    "n_seeds_agree": "training seeds that agree",
    "trained_on": "tuned on",
    "holds_from": "would hold from",
    "usd_per_million_in": "USD per million tokens in",
    "usd_per_million_out": "USD per million tokens out",
    "usd_live": "USD, live",
    "usd_batch": "USD, batch",
    "plus_minus": "±",
}  # where words for a column are others than its name


def begin(parameters: Mapping[str, Any], number: str) -> Study:
    """Start a notebook: check its parameters, set the theme of its figures, say what time it took when it was
    last timed, return its study.

    Args:
        parameters: `globals()` of the notebook.
        number: of the notebook, such as '03'.
    """
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    share_cores()
    check_checkout(Path.cwd())
    plain = {name: value for name, value in parameters.items() if isinstance(value, str | int | float)}
    study = Study.from_parameters(plain)  # a module may bear the name of a parameter
    use_theme()
    set_matplotlib_formats("retina")
    usual, least = (describe_run_time(number, profile) for profile in ("laptop", "smoke"))
    print(  # noqa: T201
        f"Takes {usual} with the defaults and {least} with the profile smoke, on two cores, if no result of "
        "its own is stored."
    )
    return study


def announce(runs: Run | Iterable[Run]) -> None:
    """Say of each run where it lies, how long it took, and whether it was stored already."""
    for run in [runs] if isinstance(runs, Run) else runs:
        state = "stored result reused" if run.reused else "computed now"
        print(f"{shown(run.path)}: {state}, took {count_seconds(run):.1f} s")  # noqa: T201


def count_seconds(run: Run) -> float:
    """Return the seconds that a result took, with those of a model's answers, which are stored apart from
    their scores.
    """
    return run.manifest["seconds"] + run.manifest["facts"].get("answer_seconds", 0)


def glue_values(**values: Any) -> None:
    """Make values available to the prose of the book, as `{glue:text}`name``; numpy numbers become Python's
    own.
    """
    from myst_nb import glue

    for name, value in values.items():
        glue(name, value.item() if hasattr(value, "item") else value, display=False)


def glue_interval(name: str, row: Mapping[str, float]) -> None:
    """Make an estimate with its interval available to the prose: `name`, `name_low` and `name_high`."""
    glue_values(**{name: row["estimate"], f"{name}_low": row["low"], f"{name}_high": row["high"]})


def describe_run_time(part: str, profile: str = "laptop") -> str:
    """Return in words how long a part of the book took on two cores, all before it stored and itself not
    (`results/bench/run_seconds.csv`).

    Args:
        part: number of a notebook, such as '03', or 'setup', 'model' or 'book'.
        profile: 'laptop' or 'smoke'.
    """
    import pandas as pd

    table = pd.read_csv(RESULTS / "bench" / "run_seconds.csv", index_col=["profile", "part"])
    seconds = table["seconds"].loc[(profile, part)]
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"


def describe_large_model() -> dict[str, float]:
    """Return what a tuning step of seven billion weights reached on two cores
    (`results/bench/device_cpu_7b.json`): tokens of a step, tokens/s of ours and of plain peft, and the
    shares of our step's time (%) that its products take at the processor's peak and that reading all weights
    twice takes.
    """
    report = json.loads((RESULTS / "bench" / "device_cpu_7b.json").read_text(encoding="utf-8"))
    step = next(row for row in report["measures"] if row["name"] == "tuning")
    seconds, _ = step["seconds"]
    return {
        "tokens": step["n"],
        "speed": step["ours"],
        "plain_speed": step["baseline"],
        "products": 100 * step["products_seconds"] / seconds,
        "reading": 100 * step["reading_seconds"] / seconds,
    }


def name_source_of_rows(instructions: str) -> str:
    """Return where the rows of a study come from, for a table: 'lesson 2' where its synthesis made them, else
    what `instructions` says: a file (from the project's folder), or public.
    """
    made_here = (ROOT / instructions).resolve().is_relative_to((runs_folder() / "synthesis").resolve())
    return "lesson 2" if made_here or not instructions else instructions


def check_kept(tasks: pd.DataFrame, run: Run) -> None:
    """Raise StudyError where no task of a synthesis was kept, so that a lesson has no rows to show.

    Args:
        tasks: every task that was parsed, with the reason where it was rejected.
        run: the synthesis.
    """
    if tasks["reason"].isna().any():
        return
    if tasks.empty:
        raise StudyError(
            f"No task could be read from the teacher's replies ({shown(run.file('replies.jsonl'))}). Read "
            "one, then choose another `teacher`, or `reply_format=json` where its server knows schemas."
        )
    counts = ", ".join(f"{reason}: {n}" for reason, n in tasks["reason"].value_counts().items())
    raise StudyError(
        f"Every one of the {len(tasks)} tasks was rejected ({counts}). Widen the filters (`min_words`, "
        "`max_words`, `novelty_threshold`), or choose another `teacher`."
    )


def show_text(text: str) -> HTML:
    """Show a text that a model or teacher wrote: verbatim, wrapped, with every mark-up escaped."""
    from IPython.display import HTML

    return HTML(f'<pre class="untrusted" style="white-space: pre-wrap">{html.escape(text)}</pre>')


def show_table(table: pd.DataFrame, digits: int = 2, **digits_of: int) -> HTML:
    """Show a table with every mark-up in its cells escaped and line breaks kept: words for headers, numbers
    rounded and aligned, an estimate and its interval in one column. A *p* that rounds to zero is less than
    the last digit. A long table scrolls in a box of its own.

    Args:
        table: what is shown.
        digits: after the point.
        digits_of: the digits of single columns, by their names.
    """
    from IPython.display import HTML

    readable = join_intervals(table, digits)
    heads, columns = [], []
    for name, values in readable.items():
        own = digits_of.get(str(name), digits)
        least = 10**-own if str(name) == "p" or str(name).startswith("p_") else 0
        cells = [format_cell(value, own, least) for value in values]
        kind = NUMBER if all(NUMBER in cell for cell in cells) else TEXT
        heads.append(f"<th{kind}>{escape_cell(name_column(str(name)))}</th>")
        columns.append(cells)
    rows = "\n".join(f"<tr>{''.join(cells)}</tr>" for cells in zip(*columns, strict=True))
    size = "long" if len(table) > MOST_SHOWN else "short"
    return HTML(
        f'<div class="table {size}" tabindex="0" role="group" aria-label="Table"><table class="dataframe">\n'
        f"<thead><tr>{''.join(heads)}</tr></thead>\n<tbody>{rows}</tbody>\n</table></div>"
    )


def join_intervals(table: pd.DataFrame, digits: int) -> pd.DataFrame:
    """Return a table with each estimate and its interval in one column, such as '0.42 [0.17, 0.67]'."""
    ends = ["estimate", "low", "high"]
    if not set(ends) <= set(table):
        return table
    texts = write_intervals(table[ends].astype(float), digits=digits)
    joined = [text if known else "" for text, known in zip(texts, table["estimate"].notna(), strict=True)]
    return table.assign(estimate=joined).drop(columns=["low", "high"]).rename(columns={"estimate": INTERVAL})


def name_column(name: str) -> str:
    """Return a column's name in words."""
    return COLUMN_NAMES.get(name, name.removeprefix("is_").replace("_", " "))


def format_cell(value: object, digits: int, least: float = 0) -> str:
    """Return a cell of a table as HTML; a number that rounds to zero says so."""
    import pandas as pd

    if isinstance(value, str):
        is_name = " " not in value and "\n" not in value and len(value) <= LONGEST_NAME
        whole = is_name or INTERVAL_TEXT.fullmatch(value)
        return f"<td{WHOLE if whole else TEXT}>{escape_cell(value)}</td>"
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return "<td></td>"
    if pd.api.types.is_bool(value):
        return f"<td{TEXT}>{'yes' if value else 'no'}</td>"
    if not pd.api.types.is_number(value):
        return f"<td{TEXT}>{escape_cell(str(value))}</td>"
    text = f"<{least:.{digits}f}" if abs(value) < least / 2 else format_number(value, digits)
    return f"<td{NUMBER}>{escape_cell(text)}</td>"


def format_number(value: float, digits: int) -> str:
    """Return a number as print has it: a true minus, no signed zero, thousands separated from five digits
    on.
    """
    import pandas as pd

    if not pd.api.types.is_integer(value):
        return write_number(value, digits=digits)
    return (f"{value:,}" if abs(value) >= 10_000 else str(value)).replace("-", "−")


def show_searchable(table: pd.DataFrame, digits: int = 2) -> HTML:
    """Show a long table with a search field, sortable columns and a few rows at a time, safe as `show_table`.

    The code that searches comes along in the output, nearly a megabyte, so that a page needs no network: one
    such table a notebook. Rows beyond `MOST_ROWS` are left out, and the caption says so.
    """
    import hashlib
    import math

    from IPython.display import HTML
    from itables import init_notebook_mode, to_html_datatable

    def round_value(value: object) -> object:
        if not isinstance(value, float):
            return value
        return "" if math.isnan(value) else f"{value:.{digits}f}"

    rounded = table.head(MOST_ROWS).map(round_value)
    name = hashlib.sha256(table.to_csv().encode()).hexdigest()[:8]  # the same rows, the same page
    layout = {"topStart": "search", "topEnd": None, "bottomStart": "info", "bottomEnd": "paging"}
    init_notebook_mode(all_interactive=False)
    caption = f"The first {MOST_ROWS:,} of {len(table):,} rows" if len(table) > MOST_ROWS else None
    body = to_html_datatable(
        escape_table(rounded),
        caption,
        table_id=f"rows-{name}",
        allow_html=True,  # what is HTML here is ours: cells are escaped already
        showIndex=False,
        maxBytes=0,
        pageLength=5,
        autoWidth=False,  # the browser knows better how wide a column of texts is
        classes="display compact",
        style="width:100%",
        layout=layout,
        display_logo_when_loading=False,
    )
    return HTML(f'<div style="overflow-x: auto">{body}</div>')


def escape_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose texts and column names are HTML that shows them verbatim."""
    safe = table.map(lambda value: escape_cell(value) if isinstance(value, str) else value)
    return safe.rename(columns=lambda name: escape_cell(str(name))).rename_axis(columns=None)


def escape_cell(text: str) -> str:
    """Return a text as HTML that shows it verbatim, line breaks included."""
    return html.escape(text).replace("\n", "<br>")


def show_provenance(runs: Iterable[Run]) -> HTML:
    """Show where each result comes from: folder, time, seconds; then code, machine and libraries, once for
    all results that share them.
    """
    import pandas as pd
    from IPython.display import HTML

    listed = list(runs)
    rows = [
        {"result": shown(run.path), "made": run.manifest["created"], "seconds": count_seconds(run)}
        for run in listed
    ]
    makers: dict[str, list[str]] = {}
    for run in listed:
        makers.setdefault(describe_maker(run), []).append(run.path.parent.name)
    notes = "".join(
        f"<p>{'' if len(makers) == 1 else ', '.join(dict.fromkeys(stages)) + ': '}{html.escape(made_by)}</p>"
        for made_by, stages in makers.items()
    )
    return HTML(show_table(pd.DataFrame(rows), digits=1).data + notes)


def describe_maker(run: Run) -> str:
    """Return in words what code, machine and libraries made a result."""
    machine, versions = run.manifest["machine"], run.manifest["versions"]
    libraries = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"Commit {run.manifest['commit']} on {machine['processor']}, {machine['cores']} cores. {libraries}."
    )
