"""`study merge`: a base and an adapter as one whole model, for programs that read no adapters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from helpers.commands.output_folder import check_new_folder, fill_folder
from helpers.commands.terminal import plain_errors, report_progress
from helpers.errors import StudyError
from helpers.models.load import AUTO, check_dtype
from helpers.paths import shown
from helpers.progress import tell


def merge(
    adapter: Annotated[Path, typer.Argument(help="Folder of an adapter that PEFT reads.")],
    output: Annotated[Path, typer.Option(help="New or empty folder for the model.")],
    model: Annotated[str, typer.Option(help="Its base; empty: the one that the adapter names.")] = "",
    dtype: Annotated[
        str, typer.Option(help="Number format: float32, bfloat16, or auto (bfloat16 on a GPU).")
    ] = AUTO,
) -> None:
    """Write a tuned model whole: safetensors, tokenizer and card, for transformers, vLLM and Ollama.

    A GGUF file is made from that folder by llama.cpp's `convert_hf_to_gguf.py`; the gguf package on its own
    has no converter.
    """
    with plain_errors():
        check_dtype(dtype)
        check_new_folder(output, "output")
        with report_progress("merge"):
            base = merge_adapter(adapter, output, model, dtype)
        typer.echo(f"{base} with {shown(adapter)} merged into it: {shown(output)}")


def merge_adapter(adapter: Path, output: Path, model: str = "", dtype: str = AUTO) -> str:
    """Write a base with an adapter merged into it; return the name of the base.

    Raises:
        StudyError: the adapter names no base that can be found, or cannot be merged into it.
    """
    from helpers.evaluation.merging import SharedBase, find_adapter
    from helpers.files import write_text
    from helpers.models.adapters import identify_adapter, read_config
    from helpers.models.hub import first_line
    from helpers.models.load import identify_model
    from helpers.models.wheels import name_own
    from helpers.tuning.card import CARD, describe_merged, list_cautions

    folder = find_adapter(adapter)
    name = model or name_own(str(read_config(folder).get("base_model_name_or_path") or ""))
    if not name:
        raise StudyError(f"The adapter in {shown(folder)} names no base. Name it with `--model`.")
    for caution in list_cautions(folder, name):
        tell(caution)
    base = SharedBase(name, dtype, keeps_weights=False)
    merged = base.merge(folder)
    with fill_folder(output) as part:
        try:
            merged.save_pretrained(part)
        except RuntimeError as error:  # such as layers that share their weights
            raise StudyError(
                f"{name!r} with the adapter in {shown(folder)} cannot be saved as safetensors: "
                f"{first_line(error)} Load the adapter beside its base instead (plain peft)."
            ) from None
        base.tokenizer.save_pretrained(part)
        card = describe_merged(name, identify_model(name), identify_adapter(folder), folder)
        write_text(part / CARD, card)
    return name
