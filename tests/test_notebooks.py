"""The contract of the notebooks in git."""

import ast
import dataclasses
import io
import re
import symtable
import sys
from types import SimpleNamespace
from typing import ClassVar

import nbformat
import pandas as pd
import pytest
from papermill import inspect_notebook

from helpers.analysis import contrasts, games, hypotheses, transfer
from helpers.analysis.published.tables import AuditSettings
from helpers.book.gallery import GALLERY
from helpers.book.parameters import GRID_ONLY, list_notebooks, plan_parameters, read_parameters
from helpers.book.student import SOLUTION
from helpers.evaluation.settings import EvaluationSettings
from helpers.jsonl import dump_rows
from helpers.paths import BOOK
from helpers.provider.ledger import ProviderLimits
from helpers.records import BASE, CATEGORIES, order_categories
from helpers.settings import TYPES
from helpers.study import tables
from helpers.study.endpoints import LossSettings
from helpers.study.grid import SINGLES, GridSettings, name_subset
from helpers.synthesis.settings import SynthesisSettings
from helpers.tuning.settings import TuningSettings

STAGES = (
    SynthesisSettings,
    ProviderLimits,
    TuningSettings,
    EvaluationSettings,
    GridSettings,
    LossSettings,
    AuditSettings,
)
FIELDS = {field.name: field for stage in STAGES for field in dataclasses.fields(stage)}
NAMES = [
    "01_seed_curation",
    "02_instruction_synthesis",
    "03_lora_training",
    "04_category_ablation",
    "05_multitask_synergy",
    "06_published_results",
]

DRAWN = re.compile(r'gallery\.draw\(\s*"(\w+)"')

each_notebook = pytest.mark.parametrize("path", list_notebooks(), ids=lambda path: path.stem)


def code_cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_the_six_notebooks_are_there():
    assert [path.stem for path in list_notebooks()] == NAMES


@each_notebook
def test_no_output_is_kept_in_git(path):
    assert not any(cell.outputs or cell.execution_count for cell in code_cells(path))


@each_notebook
def test_parameters_have_one_cell_of_their_own_first_among_the_code(path):
    tagged = [
        number
        for number, cell in enumerate(code_cells(path))
        if "parameters" in cell.metadata.get("tags", [])
    ]
    assert tagged == [0]
    lines = code_cells(path)[0].source.splitlines()
    assert all(re.fullmatch(r"\w+: (str|int|float|bool) = .+  # .+", line) for line in lines)


@each_notebook
def test_parameters_are_those_that_papermill_reads(path):
    found = inspect_notebook(str(path))
    assert {name: vars(parameter) for name, parameter in read_parameters(path).items()} == {
        name: {
            "name": name,
            "type": facts["inferred_type_name"],
            "default": ast.literal_eval(facts["default"]),
            "help": facts["help"],
        }
        for name, facts in found.items()
    }


@each_notebook
def test_parameters_repeat_type_default_and_help_of_their_stage(path):
    for parameter in read_parameters(path).values():
        assert parameter.type in TYPES
        assert parameter.help
        if parameter.name in FIELDS:
            field = FIELDS[parameter.name]
            assert (parameter.type, parameter.default, parameter.help) == (
                str(field.type),
                field.default,
                field.metadata["help"],
            )


def test_every_parameter_of_every_stage_can_be_set_in_some_notebook_or_by_study_grid_alone():
    declared = {name for path in list_notebooks() for name in read_parameters(path)}
    assert set(FIELDS) - declared == set(GRID_ONLY)


def test_the_laptop_profile_holds_the_notebooks_own_defaults():
    assert all(FIELDS[name].default == value for name, value in plan_parameters("laptop", []).items())


@each_notebook
def test_no_cell_gives_a_parameter_another_value(path):
    """The start cell reads the parameters again where it is run again."""
    cells = nbformat.read(path, as_version=4).cells
    later = [cell for cell in cells if not {"parameters", "setup"} & set(cell.metadata.get("tags", []))]
    code = "\n".join(cell.source for cell in later if cell.cell_type == "code")
    symbols = symtable.symtable(code, str(path), "exec").get_symbols()
    assert not {symbol.get_name() for symbol in symbols if symbol.is_assigned()} & set(read_parameters(path))


@each_notebook
def test_cells_are_short_and_prose_outweighs_code(path):
    cells = nbformat.read(path, as_version=4).cells
    told = [cell for cell in cells if not {"parameters", "setup"} & set(cell.metadata.get("tags", []))]
    lines = [len(cell.source.splitlines()) for cell in told if cell.cell_type == "code"]
    words = sum(len(cell.source.split()) for cell in cells if cell.cell_type == "markdown")
    assert max(lines) <= 15
    assert words >= 8 * sum(lines)


@each_notebook
def test_every_figure_has_name_caption_and_alternative_text(path):
    names = {name for name, spec in GALLERY.items() if spec.notebook == path.stem}
    drawn = [
        cell for cell in code_cells(path) if "gallery.draw(" in cell.source or "plt.subplots" in cell.source
    ]
    assert len(drawn) == len(names)
    assert {name for cell in drawn for name in DRAWN.findall(cell.source)} <= names
    for cell in drawn:
        figure = cell.metadata["mystnb"]["figure"]
        assert figure["name"].startswith("fig-")
        assert "interval" in figure["caption"]
        assert len(cell.metadata["mystnb"]["image"]["alt"]) > 40


@each_notebook
def test_every_glued_value_is_made_in_its_notebook(path):
    cells = nbformat.read(path, as_version=4).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    for name in re.findall(r"\{glue:text\}`(\w+)", prose):
        stem = re.sub(r"(_(qa|ie|gen|other))?(_low|_high)?$", "", name)
        assert any(made in code for made in (f"{name}=", f"{stem}_{{", f"{stem}_", f'"{stem}"')), name


@each_notebook
def test_prose_reads_whole_where_no_value_is_glued_in(path):
    assert not [
        role
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "markdown"
        for role in re.findall(r"\{glue[^}]*\}`[^`]*`", cell.source)
    ]


@each_notebook
def test_a_notebook_opens_as_a_lesson(path):
    opening = nbformat.read(path, as_version=4).cells[0].source
    parts = (
        "```{admonition} This lesson",
        "**You learn to**",
        "**You need**",
        "**It takes**",
        "| reads | writes |",
    )
    places = [opening.find(part) for part in parts]
    assert -1 not in places
    assert places == sorted(places)
    assert 3 <= opening.count("\n- ") <= 6


@each_notebook
def test_a_notebook_says_what_time_it_takes(path):
    cells = nbformat.read(path, as_version=4).cells
    assert any(f'notebook.begin(globals(), "{path.name[:2]}")' in cell.source for cell in cells)


@each_notebook
def test_each_of_two_to_five_exercises_has_a_folded_solution_that_runs(path):
    cells = nbformat.read(path, as_version=4).cells
    asked = [place for place, cell in enumerate(cells) if "```{exercise}" in cell.source]
    assert 2 <= len(asked) <= 5
    tagged = {place for place, cell in enumerate(cells) if SOLUTION in cell.metadata.get("tags", [])}
    for place in asked:
        label = re.search(r"^:label: (ex-[\w-]+)$", cells[place].source, re.MULTILINE)[1]
        end = next(
            later for later in range(place + 1, len(cells)) if "```{solution-end}" in cells[later].source
        )
        answer = range(place + 1, end + 1)
        assert cells[place + 1].source.startswith(f"```{{solution-start}} {label}\n:class: dropdown\n```")
        assert tagged >= set(answer)
        assert any(
            cells[step].cell_type == "code" and "remove-cell" not in cells[step].metadata["tags"]
            for step in answer
        )
        tagged -= set(answer)
    assert not tagged


@each_notebook
def test_a_notebook_ends_with_a_summary_that_says_what_is_next(path):
    cells = nbformat.read(path, as_version=4).cells
    summary = next(cell.source for cell in reversed(cells) if cell.cell_type == "markdown")
    assert summary.startswith("## Summary")
    assert 3 <= summary.count("\n- ") <= 5
    assert re.search(r"^Next, (\{doc\}`|\[lesson \d\]\()", summary, re.MULTILINE)


@each_notebook
def test_a_lesson_is_named_by_a_link_that_jupyterlab_and_colab_follow_too(path):
    prose = "\n".join(
        cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"
    )
    assert "{ref}`nb-" not in prose
    links = re.findall(r"\[lesson (\d)\]\((\d\d)(_\w+\.ipynb)\)", prose, re.IGNORECASE)
    assert links
    for number, prefix, rest in links:
        assert int(number) == int(prefix)
        assert (path.parent / f"{prefix}{rest}").is_file()


def test_the_glossary_and_the_links_to_it_hold_the_same_terms():
    glossary = (BOOK / "glossary.md").read_text(encoding="utf-8")
    terms = set(re.findall(r"^(\S.*)\n  \S", glossary, re.MULTILINE))
    pages = [page.read_text(encoding="utf-8") for page in BOOK.glob("*.md") if page.name != "glossary.md"]
    texts = [
        cell.source
        for path in list_notebooks()
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "markdown"
    ]
    linked = {
        target or word
        for word, target in re.findall(r"\{term\}`([^`<]+?)(?: <([^>]+)>)?`", "\n".join([*pages, *texts]))
    }
    assert linked == terms


@each_notebook
def test_no_notebook_holds_a_secret(path):
    source = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
    assert not re.search(r"sk-[A-Za-z0-9]|api_key *=", source)


def test_the_setup_cell_is_the_same_everywhere_second_among_the_code_and_not_in_the_book():
    second = [code_cells(path)[1] for path in list_notebooks()]
    assert {tuple(cell.metadata["tags"]) for cell in second} == {("setup", "remove-cell")}
    assert len({cell.source for cell in second}) == 1


@pytest.fixture
def fresh_machine(monkeypatch):
    """Return a function that runs the setup cell where the study may be missing, and returns what pip was
    asked for.
    """
    from IPython.core.interactiveshell import InteractiveShell

    shell, noted = InteractiveShell(), []
    shell.register_magic_function(noted.append, magic_name="pip")
    monkeypatch.setattr("builtins.input", lambda _: "https://github.com/some-one/a.study")

    def run_setup(installed):
        if not installed:
            monkeypatch.setitem(sys.modules, "helpers", None)
        shell.run_cell(code_cells(list_notebooks()[0])[1].source).raise_error()
        return noted

    return run_setup


def test_the_setup_cell_does_nothing_where_the_study_is_installed(fresh_machine):
    assert fresh_machine(installed=True) == []


def test_the_setup_cell_installs_the_study_on_a_fresh_machine(fresh_machine):
    (asked,) = fresh_machine(installed=False)
    address = "git+https://github.com/some-one/a.study#egg=bioinstruct-study"
    assert asked == f"install --quiet --editable {address}"


class StoredTuning:
    """A tuning run on rows whose categories could be numbers or missing values."""

    manifest: ClassVar = {"facts": {}}

    def __init__(self, first, second):
        self.texts = {
            "log.csv": "step,loss\n1,2.5\n",
            "rows.csv": f"id,category,instruction\na,{first},Say\nb,{second},Say\nc,{first},Say\n",
            "left_out.csv": f"id,category,tokens\nd,{first},900\n",
        }

    def file(self, name):
        return io.StringIO(self.texts[name])


SEED_FIELDS = ("id", "category", "skill", "specialty")
SHOWN = SimpleNamespace(show_table=lambda table, **_: table)


def run_cells(number, *parts, **names):
    """Run those cells of a notebook that hold one of some texts; return what they leave behind."""
    path = next(path for path in list_notebooks() if path.stem.startswith(number))
    sources = [cell.source for cell in code_cells(path) if any(part in cell.source for part in parts)]
    assert len(sources) == len(parts)
    names |= {"pd": pd, "read_table": tables.read_table}
    for source in sources:
        exec(source, names)  # noqa: S102 (the project's own)
    return names


@pytest.mark.parametrize("names", [("NA", "null"), ("007", "8")], ids=["missing", "numbers"])
def test_lesson_3_counts_categories_that_could_be_numbers_or_missing_values(names):
    first, second = names
    rows = [SimpleNamespace(category=name) for name in (first, first, first, second)]
    given = {"tuned": StoredTuning(first, second), "rows": rows, "notebook": SHOWN}
    counts = run_cells("03", "too_long =", "by_category =", **given)["by_category"]
    assert {name: counts.loc[name].tolist() for name in names} == {first: [3, 1, 2], second: [1, 0, 1]}
    assert len(counts) == 2


@pytest.mark.parametrize("names", [("NA", "null"), ("007", "8")], ids=["missing", "numbers"])
def test_lesson_5_counts_categories_that_could_be_numbers_or_missing_values(names):
    tunings = {"+".join(names): StoredTuning(*names)}
    counts = run_cells("05", "drawn =", tunings=tunings, notebook=SHOWN)["composition"]
    assert counts.loc["+".join(names)].to_dict() == dict(zip(names, (2, 1), strict=True))


def test_lessons_list_categories_in_the_order_of_the_study():
    rows = [SimpleNamespace(category=name) for name in ("gen", "gen", "ie", "qa")]
    given = {"tuned": StoredTuning("qa", "ie"), "rows": rows, "notebook": SHOWN}
    assert list(run_cells("03", "too_long =", "by_category =", **given)["by_category"].index) == list(SINGLES)
    seeds = {
        name: SimpleNamespace(
            model_dump=lambda name=name: dict.fromkeys(SEED_FIELDS, name) | {"category": name}
        )
        for name in ("other", "gen", "ie", "qa")
    }
    given = {"seeds": seeds, "order_categories": order_categories, "notebook": SHOWN}
    assert list(run_cells("01", "counted =", "specialties =", **given)["specialties"]) == list(CATEGORIES)


def test_lesson_5_takes_categories_called_like_its_own_columns():
    names = ("contrast", "mixture")
    tunings = {"+".join(names): StoredTuning(*names)}
    shown = []
    notebook = SimpleNamespace(show_table=lambda table, **_: shown.append(table))
    run_cells("05", "drawn =", tunings=tunings, notebook=notebook)
    assert list(shown[0]) == ["mixture", *names]
    items = pd.DataFrame(
        {"cell": BASE, "task": f"held_out_{name}", "category": name, "item": str(place), "score": place / 7}
        for name in names
        for place in range(4)
    )
    given = {"study": SimpleNamespace(collect_endpoint=lambda _: items), "categories": names, "BASE": BASE}
    given |= {"name_subset": name_subset, "games": games, "hypotheses": hypotheses, "notebook": notebook}
    run_cells("05", "for name in categories if name in wide", **given)
    assert list(shown[1]) == ["contrast", *names]


def test_captions_do_not_take_the_items_asked_for_or_the_intervals_of_another_table():
    captions, code = {}, ""
    for path in list_notebooks():
        for cell in code_cells(path):
            code += cell.source
            for name in DRAWN.findall(cell.source):
                captions[name] = cell.metadata["mystnb"]["figure"]["caption"]
    assert "n_items_used=n_items" not in code
    assert "nine tasks" not in captions["scores"]
    assert "`curve_interval_text`" in captions["sizes"]
    assert "`curve_budget`" in captions["sizes"]


@pytest.mark.parametrize("budget", ["fixed", "additive"])
def test_the_caption_of_the_size_curve_comes_from_its_own_items(budget):
    plain = pd.DataFrame({"task": ["held_out_qa"], "item": ["a"], "seed": [1]})
    glued = {}
    given = {"study": SimpleNamespace(collect_endpoint_by_size=lambda: {12: plain}), "budget": budget}
    run_cells(
        "05",
        "curve_budget=",
        contrasts=contrasts,
        notebook=SimpleNamespace(glue_values=glued.update),
        **given,
    )
    assert glued["curve_interval_text"] == "over the items alone (one training seed)"
    assert ("rows of each category" in glued["curve_budget"]) == (budget == "additive")


def test_captions_of_lesson_4_say_what_the_intervals_of_their_own_table_cover():
    path = next(path for path in list_notebooks() if path.stem.startswith("04"))
    captions = {
        name: cell.metadata["mystnb"]["figure"]["caption"]
        for cell in code_cells(path)
        for name in DRAWN.findall(cell.source)
    }
    assert "`interval_text`" in captions["single_transfer"]  # of losses on held-out rows
    for name in ("parts", "single_scores", "gains", "single_sources"):
        assert "`interval_text`" not in captions[name]


@pytest.mark.parametrize("held", [4, 2], ids=["two requests each", "one request each"])
def test_lesson_4_groups_held_out_rows_by_their_requests_and_not_by_their_ids(tmp_path, capsys, held):
    rows = [
        {
            "id": f"{name}-{n}",
            "category": name,
            "instruction": f"{name} {n}?",
            "output": "Yes.",
            "request": n // 2,
        }
        for name in SINGLES
        for n in range(held)
    ]
    (tmp_path / "held_out.jsonl").write_text(dump_rows(rows))
    items = pd.DataFrame(
        {"cell": cell, "item": row["id"], "category": row["category"], "task": f"held_out_{row['category']}"}
        | {"score": (cell != BASE) * (0.1 + place % 3 / 10)}
        for cell in (BASE, *SINGLES)
        for place, row in enumerate(rows)
    )
    given = {"study": SimpleNamespace(held_out_file=tmp_path / "held_out.jsonl"), "items": items}
    given |= {"categories": SINGLES, "transfer": transfer, "matrix": transfer.transfer_table(items, SINGLES)}
    run_cells("04", "read_groups", notebook=SHOWN, display=lambda _: None, **given)
    said = capsys.readouterr().out
    assert f"The {3 * held} held-out rows come from {held // 2} requests" in said
    assert ("no interval over requests" in said) == (held == 2)


def test_lesson_5_says_what_can_be_found_where_one_category_alone_has_the_endpoint():
    scores = [0.1, 0.4, 0.2, 0.5]
    items = pd.DataFrame(
        {"cell": BASE, "task": "evidence_yesno", "category": "qa", "item": str(place), "score": score}
        for place, score in enumerate(scores)
    )
    given = {"study": SimpleNamespace(collect_endpoint=lambda _: items), "categories": SINGLES, "BASE": BASE}
    given |= {"name_subset": name_subset, "games": games, "hypotheses": hypotheses, "notebook": SHOWN}
    table = run_cells("05", "for name in categories if name in wide", **given)["wide"]
    assert list(table) == ["qa"]
    assert len(table) == 4


def test_lesson_3_runs_without_the_task_of_its_worked_example(capsys):
    answers = pd.DataFrame({"task": ["patient_answer"], "cell": [BASE], "item": ["a"], "score": [0.5]})
    run_cells("03", 'two = answers[answers["task"] ==', answers=answers, notebook=SHOWN)
    assert "no item of evidence_yesno" in capsys.readouterr().out
