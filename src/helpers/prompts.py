"""The prompt that tuning and evaluation share: Alpaca's form, in our words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PREAMBLE = "Below is a biomedical task. Write the response that completes it."
RESPONSE = "### Response:\n"


def build_prompt(instruction: str, input: str = "", demonstration: tuple[str, str] | None = None) -> str:
    """Return the prompt of one task, up to where the response begins.

    Base and tuned models get the very same text. The paper names the form (preamble, instruction, input,
    response marker) but not its wording.

    Args:
        instruction: what to do.
        input: the material; left out when empty.
        demonstration: (input, response) of one solved example, shown before the task itself (one-shot tasks).
    """
    parts = [PREAMBLE, f"### Instruction:\n{instruction.strip()}"]
    if demonstration:
        parts += [f"### Input:\n{demonstration[0].strip()}", RESPONSE + demonstration[1].strip()]
    if input.strip():
        parts.append(f"### Input:\n{input.strip()}")
    return "\n\n".join([*parts, RESPONSE])


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """Return the ids of a prompt, with one begin-of-text token where the model's tokenizer adds one and no
    end of text.
    """
    ids = tokenizer(prompt)["input_ids"]
    return ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids
