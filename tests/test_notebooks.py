"""The contract of the notebooks in git."""

import dataclasses
import re

import nbformat
import pytest

from helpers.analysis.published.tables import AuditSettings
from helpers.evaluation.stage import EvaluationSettings
from helpers.gallery import GALLERY
from helpers.grid import GridSettings
from helpers.provider.ledger import ProviderLimits
from helpers.runner import list_notebooks, read_parameters, read_profile
from helpers.settings import TYPES
from helpers.synthesis.pipeline import SynthesisSettings
from helpers.tuning.lora import TuningSettings

STAGES = (SynthesisSettings, ProviderLimits, TuningSettings, EvaluationSettings, GridSettings, AuditSettings)
FIELDS = {field.name: field for stage in STAGES for field in dataclasses.fields(stage)}
NAMES = ["01_seed_curation", "02_instruction_synthesis", "03_lora_training", "04_category_ablation", "05_multitask_synergy", "06_published_results"]

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
    tagged = [number for number, cell in enumerate(code_cells(path)) if "parameters" in cell.metadata.get("tags", [])]
    assert tagged == [0]
    lines = code_cells(path)[0].source.splitlines()
    assert all(re.fullmatch(r"\w+: (str|int|float|bool) = .+  # .+", line) for line in lines)


@each_notebook
def test_parameters_repeat_type_default_and_help_of_their_stage(path):
    for parameter in read_parameters(path).values():
        assert parameter.type in TYPES
        assert parameter.help
        if parameter.name in FIELDS:
            field = FIELDS[parameter.name]
            assert (parameter.type, parameter.default, parameter.help) == (str(field.type), field.default, field.metadata["help"])


def test_every_parameter_of_every_stage_can_be_set_in_some_notebook():
    assert set(FIELDS) <= {name for path in list_notebooks() for name in read_parameters(path)}


def test_the_laptop_profile_holds_the_notebooks_own_defaults():
    assert all(FIELDS[name].default == value for name, value in read_profile("laptop").items())


@each_notebook
def test_cells_are_short_and_prose_outweighs_code(path):
    cells = nbformat.read(path, as_version=4).cells
    lines = [len(cell.source.splitlines()) for cell in cells if cell.cell_type == "code" and "parameters" not in cell.metadata.get("tags", [])]
    words = sum(len(cell.source.split()) for cell in cells if cell.cell_type == "markdown")
    assert max(lines) <= 15
    assert words >= 8 * sum(lines)


@each_notebook
def test_every_figure_has_name_caption_and_alternative_text(path):
    drawn = [cell for cell in code_cells(path) if "plt.subplots" in cell.source]
    assert len(drawn) == sum(drawing.notebook == path.stem for drawing in GALLERY.values())
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
def test_a_notebook_ends_with_exercises_a_summary_and_no_secret(path):
    source = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
    assert source.count("```{exercise}") >= 2
    assert source.count("```{exercise}") == source.count("```{solution}")
    assert "## Summary" in source
    assert not re.search(r"sk-[A-Za-z0-9]|api_key *=", source)
