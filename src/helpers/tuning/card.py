"""The card that lies with an adapter: what it was made of and how, what it scored, what it is not for."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from helpers.models.adapters import CONFIG
from helpers.models.hub import split_revision
from helpers.models.load import identify_model
from helpers.models.wheels import WHEEL_MODELS, name_upstream
from helpers.paths import shown
from helpers.records import BASE
from helpers.tuning.settings import TuningSettings

CARD = "README.md"
IDENTITY_ROW = re.compile(r"^- model, identified by: `(.+)`$", re.MULTILINE)
FORMAT_ROW = re.compile(r"^(?:\| prompt_format \||- prompt_format:) `(\w+)`", re.MULTILINE)
LIMITS = """Not for clinical use. The adapter was made for a study of methods: a model tuned with it gives
wrong and unsafe answers in fluent sentences. It was tuned once, with one seed; neither its rows nor its
answers were checked for bias or safety. Who uses it must also keep to the terms of the model below it and
of the rows it was tuned on."""


def describe_adapter(
    settings: TuningSettings,
    inputs: Mapping[str, str],
    facts: Mapping[str, Any],
    log: Sequence[Mapping[str, Any]],
    scores: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Return an adapter's card as Markdown with the front matter that model hubs read.

    Args:
        settings: the run's TuningSettings.
        inputs: sha256 of the instruction file, and what identifies the model.
        facts: those of the run's manifest.
        log: one entry per step, with its loss (nats per response token).
        scores: rows with task, metric, cell, estimate, low, high, n; empty where the adapter was not
            evaluated.
    """
    first, last = log[0]["loss"], log[-1]["loss"]
    return "\n".join(
        [
            *_front_matter(settings.model, "peft", "[lora, biomedical, not-for-clinical-use]"),
            "# LoRA adapter of the BioInstruct study",
            "",
            f"A LoRA adapter for {_name(settings.model)}, tuned on biomedical instructions; the loss counts "
            "on responses only.",
            "",
            "## Load it",
            "",
            "```python",
            "from peft import PeftModel",
            "from transformers import AutoModelForCausalLM",
            "",
            f'base = AutoModelForCausalLM.from_pretrained("{_place(settings.model)}")',
            'tuned = PeftModel.from_pretrained(base, "path/of/this/folder")',
            "```",
            "",
            *_weights_note(settings.model),
            *_folder_note(settings.model),
            *_data(settings, inputs, facts),
            *_parameters(settings, facts),
            "## Scores",
            "",
            f"Training loss: {first:.3f} in the first step, {last:.3f} in the last (nats per response token; "
            "other rows in each).",
            "",
            *(
                _scores(scores)
                if scores
                else ["The adapter had not been evaluated when this card was written."]
            ),
            "",
            "## Limits",
            "",
            LIMITS,
            "",
        ]
    )


def _data(settings: TuningSettings, inputs: Mapping[str, str], facts: Mapping[str, Any]) -> list[str]:
    return [
        "## Data",
        "",
        f"- instruction file, sha256: `{inputs['instructions']}`",
        f"- model, identified by: `{inputs['model']}`",
        *(
            [f"- goes on from an adapter, settings and weights, sha256: `{inputs['parent']}`"]
            if "parent" in inputs
            else []
        ),
        f"- rows: {facts['n_rows']} of categories `{settings.categories}`; {facts['n_too_long']} rows of the "
        "file were too long and left out",
        f"- tokens seen: {facts['n_tokens']:,}, of which {facts['n_response_tokens']:,} count for the loss",
        "",
    ]


def _parameters(settings: TuningSettings, facts: Mapping[str, Any]) -> list[str]:
    shown = dataclasses.replace(settings, model=_name(settings.model))
    rows = [
        [field.name, f"`{getattr(shown, field.name)}`", field.metadata["help"]]
        for field in dataclasses.fields(shown)
    ]
    return [
        "## Parameters",
        "",
        *_table(["parameter", "value", "meaning"], rows),
        "",
        f"{facts['n_trainable']:,} weights were learnt beside {facts['n_weights']:,} frozen ones, in "
        f"{facts['n_steps']} steps on {facts['hardware']}.",
        "",
    ]


def list_cautions(folder: Path, model: str, prompt_format: str = "") -> list[str]:
    """Return what to know before an adapter is put on a model, as its card shows it: that it was tuned with
    prompts of another form, or on other weights, such as the hub's, where the study's own are quantised ones.

    Args:
        folder: of the adapter; one that is none is left to what loads it.
        model: name of the base.
        prompt_format: in which the model will be asked, if it will.
    """
    if not (folder / CONFIG).is_file():
        return []
    cautions = list_format_cautions(folder, prompt_format) if prompt_format else []
    named = _read_row(folder, IDENTITY_ROW)
    if model in WHEEL_MODELS and (named is None or named.startswith(f"{name_upstream(model)}@")):
        what = "does not say that it was" if named is None else "was not"
        cautions.append(
            f"The weights of {model!r} come from a quantised file of {name_upstream(model)}, and the adapter "
            f"in {shown(folder)} {what} tuned on these: numbers differ a little from those of the hub's "
            f"weights. Give `--model {name_upstream(model)}` to use those."
        )
    elif named and named != (own := identify_model(model)):
        is_sure = ("@" in named) == ("@" in own)  # both a hub's commit, or both a sum of files
        cautions.append(
            f"The adapter in {shown(folder)} {'was' if is_sure else 'may have been'} tuned on other weights "
            f"than those of {model!r}: on a model other than its own an adapter means nothing."
        )
    return cautions


def list_format_cautions(folder: Path, prompt_format: str) -> list[str]:
    """Return what to know of an adapter, or of a model that it was merged into, which was tuned with prompts
    of another form than it is asked in; nothing where its card does not tell.
    """
    own = _read_row(folder, FORMAT_ROW)
    if own in (None, prompt_format):
        return []
    return [
        f"{shown(folder)} was tuned with prompt_format {own!r}, and is asked in {prompt_format!r}, a form "
        f"that it has not seen. Give `--prompt-format {own}` to ask it as it was tuned."
    ]


def _read_row(folder: Path, row: re.Pattern[str]) -> str | None:
    """Return what the card of an adapter or a merged model says in a row; None where it does not."""
    try:
        found = row.search((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found[1] if found else None


def describe_merged(model: str, identity: str, adapter: str, folder: Path) -> str:
    """Return the card of a base with an adapter merged into it.

    Args:
        model: name of the base.
        identity: what identifies the base.
        adapter: sha256 of the adapter, settings and weights.
        folder: of the adapter, whose card may tell in which form of prompt it was tuned.
    """
    own = _read_row(folder, FORMAT_ROW)
    return "\n".join(
        [
            *_front_matter(model, "transformers", "[biomedical, not-for-clinical-use]"),
            "# Tuned model of the BioInstruct study",
            "",
            f"{name_upstream(_name(model))} with a LoRA adapter merged into its weights.",
            "",
            "- transformers: `AutoModelForCausalLM.from_pretrained(FOLDER)`",
            "- vLLM: `vllm serve FOLDER`",
            "- Ollama: a Modelfile with `FROM FOLDER`, then `ollama create NAME`",
            "- GGUF: llama.cpp's `convert_hf_to_gguf.py FOLDER`",
            "",
            *_weights_note(model),
            f"- base, identified by: `{identity}`",
            f"- adapter, settings and weights, sha256: `{adapter}`",
            *([f"- prompt_format: `{own}`"] if own else []),
            "",
            "## Limits",
            "",
            LIMITS,
            "",
        ]
    )


def _weights_note(model: str) -> list[str]:
    if model not in WHEEL_MODELS:
        return []
    return [
        f"The hub knows the base as {name_upstream(model)}. The study's weights come from its quantised GGUF "
        "file, so numbers differ a little from those of the hub's.",
        "",
    ]


def _is_folder(model: str) -> bool:
    return model not in WHEEL_MODELS and Path(model).is_dir()


def _name(model: str) -> str:
    """Return a model's name as a card may show it: of a folder the last part, since the others say whose
    machine it lay on.
    """
    return Path(model).resolve().name if _is_folder(model) else model


def _folder_note(model: str) -> list[str]:
    if not _is_folder(model):
        return []
    return [
        "The base lay in a folder, which `base_model_name_or_path` in `adapter_config.json` names: set it to "
        "where others find that model before you publish the adapter.",
        "",
    ]


def _front_matter(model: str, library: str, tags: str) -> list[str]:
    name = name_upstream(model)
    on_hub = split_revision(name)[0].count("/") == 1 and not _is_folder(model)
    return [
        "---",
        *([f"base_model: {split_revision(name)[0]}"] if on_hub else []),
        f"library_name: {library}",
        "pipeline_tag: text-generation",
        f"tags: {tags}",
        "---",
        "",
    ]


def _place(model: str) -> str:
    if model in WHEEL_MODELS:
        return f"folder that `study fetch {model}` names"
    return f"path/of/{_name(model)}" if _is_folder(model) else model


def _scores(scores: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = []
    for row in sorted(scores, key=lambda row: row["task"]):
        model = "base" if row["cell"] == BASE else "tuned"
        rows.append(
            [
                row["task"],
                row["metric"],
                model,
                f"{row['estimate']:.3f}",
                f"{row['low']:.3f} to {row['high']:.3f}",
                str(row["n"]),
            ]
        )
    return _table(["task", "metric", "model", "score", "95 % interval over the items", "items"], rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]
