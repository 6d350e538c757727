"""`study tune` as a user meets it."""

import dataclasses
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from helpers.cli import app
from helpers.commands import tuning
from helpers.files import write_text
from helpers.tuning.settings import TuningSettings
from helpers.tuning.stage import tune

OPTIONS = ["--n-rows=8", "--batch-size=4", "--lora-rank=2", "--learning-rate=0.01"]


def run(*arguments):
    return CliRunner().invoke(app, ["tune", *map(str, arguments)])


def test_every_parameter_of_a_tuning_run_is_an_option_with_its_help():
    output = re.sub(r"[│\s]+", " ", run("--help").output)
    for field in dataclasses.fields(TuningSettings):
        assert f"--{field.name.replace('_', '-')} " in output
        assert field.metadata["help"].split()[0] in output


def test_one_command_makes_an_adapter_that_plain_peft_loads_and_that_changes_the_model(
    toy_model, instruction_file, tmp_path
):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    result = run(
        "--model", toy_model, "--instructions", instruction_file, "--output", tmp_path / "out", *OPTIONS
    )
    assert result.exit_code == 0, result.output
    assert "8 of 40 rows (0 of the file were too long), 2 steps" in result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    base = AutoModelForCausalLM.from_pretrained(toy_model)
    ids = torch.tensor([[0, 5, 6, 7]])
    before = base(ids).logits
    tuned = PeftModel.from_pretrained(base, tmp_path / "out")
    norms = [weight.norm().item() for name, weight in tuned.named_parameters() if "lora_B" in name]
    assert len(norms) == 14
    assert all(norm > 0 for norm in norms)
    assert (tuned(ids).logits - before).abs().max() > 1e-3


def test_the_card_says_what_the_adapter_is_made_of(toy_model, instruction_file, tmp_path, runs):
    from helpers.files import sha256_file

    run(
        "--model",
        toy_model,
        "--instructions",
        instruction_file,
        "--output",
        tmp_path / "out",
        "--tasks=evidence_yesno",
        "--n-items=2",
        *OPTIONS,
    )
    card = (tmp_path / "out" / "README.md").read_text()
    assert str(Path(toy_model).parent) not in card  # whose machine it was is nobody's concern
    assert f"A LoRA adapter for {Path(toy_model).name}, tuned on" in card
    assert "`base_model_name_or_path`" in card
    assert card.startswith("---\nlibrary_name: peft\n")
    assert sha256_file(instruction_file) in card
    assert "| lora_rank | `2` |" in card
    assert "| dtype | `float32` |" in card  # as it was computed, not `auto`
    assert len(list((runs / "tuning").iterdir())) == 1  # the scores are those of this very adapter
    assert "Not for clinical use" in card
    for cell in ("base", "tuned"):
        assert re.search(rf"\| evidence_yesno \| accuracy \| {cell} \| \d\.\d{{3}} \|", card)


def test_a_card_without_evaluation_says_so(toy_model, instruction_file, tmp_path):
    run("--model", toy_model, "--instructions", instruction_file, "--output", tmp_path / "out", *OPTIONS)
    assert "had not been evaluated" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--instructions", "none.jsonl"], "none lies at 'none.jsonl'"),
        (["--instructions", "none.jsonl", "--lora-rank", "0"], "`lora_rank` must be at least 1"),
        (["--instructions", "none.jsonl", "--categories", "qa+qa"], "`categories` must be"),
    ],
)
def test_a_mistake_is_one_message(arguments, message):
    result = run(*arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_what_another_process_has_written_meanwhile_is_not_written_over(
    toy_model, instruction_file, tmp_path, monkeypatch
):
    written = tmp_path / "out" / "adapter_config.json"

    def tune_while_another_writes(*given):
        write_text(written, "another's")
        return tune(*given)

    monkeypatch.setattr(tuning, "tune", tune_while_another_writes)
    given = ["--model", toy_model, "--instructions", instruction_file, "--output", written.parent]
    result = run(*given, *OPTIONS)
    assert result.exit_code == 1
    assert "must name a new or empty folder" in result.stderr
    assert written.read_text() == "another's"
    assert len(list(written.parent.iterdir())) == 1


def test_a_folder_that_holds_something_is_not_written_over(toy_model, instruction_file, tmp_path):
    result = run("--model", toy_model, "--instructions", instruction_file, "--output", tmp_path, *OPTIONS)
    assert result.exit_code == 1
    assert "new or empty folder" in result.stderr
