"""The prompts that tuning and evaluation share: Alpaca's form, in our words, or the model's own chat
template.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from helpers.errors import StudyError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PREAMBLE = "Below is a biomedical task. Write the response that completes it."
RESPONSE = "### Response:\n"
ALPACA, CHAT = "alpaca", "chat"
FORMATS = (ALPACA, CHAT)
FORMAT_HELP = "'alpaca': the paper's form; 'chat': the chat template of the model's tokenizer"
SYSTEM_HELP = "what a chat model is told first; needs prompt_format 'chat'"
# of templates that name the day, so that prompts are the same on every one; a macro takes the place of the
# function of transformers that gives today's
CHAT_DATE = {
    **{"%d": "26", "%B": "July", "%b": "Jul", "%m": "07", "%Y": "2024"},
    **{"%A": "Friday", "%a": "Fri", "%y": "24", "%-d": "26", "%e": "26", "%F": "2024-07-26"},
    **{"%H": "00", "%I": "12", "%M": "00", "%S": "00", "%p": "AM", "%X": "00:00:00"},
}
FIXED_DATE = (
    "{% macro strftime_now(form) %}{{ form"
    + "".join(f" | replace('{code}', '{part}')" for code, part in CHAT_DATE.items())
    + " }}{% endmacro %}\n"  # the line feed is cut off, so a template begins at the start of a line
)


@dataclasses.dataclass(frozen=True)
class Prompt:
    """What a model is asked: what to do, the material, and (input, response) of one solved example."""

    instruction: str
    input: str = ""
    demonstration: tuple[str, str] | None = None

    @property
    def text(self) -> str:
        """The prompt in Alpaca's form, up to where the response begins."""
        return build_prompt(self.instruction, self.input, self.demonstration)

    @property
    def messages(self) -> list[dict[str, str]]:
        """The prompt as turns of a chat; the solved example is an earlier turn."""
        asked = [self.input]
        turns = []
        if self.demonstration:
            shown, response = self.demonstration
            asked = [shown, self.input]
            turns = [{"role": "assistant", "content": response.strip()}]
        users = [
            {"role": "user", "content": "\n\n".join(filter(None, (self.instruction.strip(), part.strip())))}
            for part in asked
        ]
        return [users[0], *turns, *users[1:]]


@dataclasses.dataclass(frozen=True)
class PromptFormat:
    """How prompts and responses become tokens; the same for a base model and what is tuned on it.

    Attributes:
        name: 'alpaca', or 'chat' for the chat template of the model's tokenizer.
        system: what a chat model is told before the first turn.
    """

    name: str = ALPACA
    system: str = ""

    @classmethod
    def from_settings(cls, settings: Any) -> PromptFormat:
        """Return the format that a stage's settings name.

        Raises:
            StudyError: it is unknown, or a system prompt is given where none is shown.
        """
        if settings.prompt_format not in FORMATS:
            raise StudyError(
                f"`prompt_format` must be one of {FORMATS}, but {settings.prompt_format!r} was found."
            )
        if settings.system_prompt and settings.prompt_format != CHAT:
            raise StudyError("`system_prompt` has no effect here. Use it with prompt_format = 'chat'.")
        return cls(settings.prompt_format, settings.system_prompt)

    def describe(self) -> dict[str, str]:
        """Return what a fingerprint says of the format: nothing for the paper's form, so that its results
        keep the fingerprint that they had.
        """
        own = {"prompt_format": self.name, "system_prompt": self.system, "chat_date": CHAT_DATE["%F"]}
        return {} if self == PAPERS_FORMAT else own

    def encode(self, tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> list[int]:
        """Return the ids of a prompt, up to where the response begins."""
        if self.name == ALPACA:
            return encode_prompt(tokenizer, prompt.text)
        return self._render(tokenizer, prompt.messages, is_open=True)

    def encode_response(self, tokenizer: PreTrainedTokenizerBase, response: str) -> list[int]:
        """Return the ids of a response with what ends it. They are made apart from the prompt's, so that the
        border between the two is one of tokens and cannot move.
        """
        ids = tokenizer(response.strip(), add_special_tokens=False)["input_ids"]
        return [*ids, *self._ending(tokenizer)]

    def find_end(self, tokenizer: PreTrainedTokenizerBase) -> int:
        """Return the id of the token at which a response has ended."""
        return self._ending(tokenizer)[-1]

    @lru_cache(maxsize=16)  # noqa: B019 (a format and a tokenizer live as long as the run)
    def _ending(self, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
        """Return what follows a response, up to the token that ends it: what a template sets after a turn, or
        the end of text.

        Raises:
            StudyError: the model has no token that could end a response.
        """
        after: list[int] = []
        if self.name == CHAT:
            one, other = (
                self._render(tokenizer, [*Prompt("Ask").messages, {"role": "assistant", "content": content}])
                for content in ("yes", "0")
            )
            shared = takewhile(lambda pair: pair[0] == pair[1], zip(one[::-1], other[::-1], strict=False))
            after = [token for token, _ in shared][::-1]
        ends = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
        index = next((index for index, token in enumerate(after) if token in ends), None)
        if index is not None:
            return tuple(after[: index + 1])
        if tokenizer.eos_token_id is None:
            raise StudyError(
                "The model's tokenizer must name an end-of-text token, but none was found. Set `eos_token` "
                "in its tokenizer_config.json."
            )
        return (tokenizer.eos_token_id,)

    def _render(
        self, tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], is_open: bool = False
    ) -> list[int]:
        from jinja2 import TemplateError

        if not tokenizer.chat_template:
            raise StudyError(
                f"The tokenizer of {tokenizer.name_or_path!r} has no chat template, so the model cannot "
                "be asked as a chat model. Use prompt_format = 'alpaca', or a model that was tuned for chats."
            )
        system = [{"role": "system", "content": self.system}] if self.system else []
        try:
            return tokenizer.apply_chat_template(
                [*system, *messages],
                add_generation_prompt=is_open,
                tokenize=True,
                return_dict=False,
                chat_template=FIXED_DATE + tokenizer.get_chat_template(),
                enable_thinking=False,
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise StudyError(
                f"The chat template of {tokenizer.name_or_path!r} does not take this chat: {error}. Leave "
                "`system_prompt` empty where the model knows none, or use prompt_format = 'alpaca'."
            ) from None


PAPERS_FORMAT = PromptFormat()


def build_prompt(instruction: str, input: str = "", demonstration: tuple[str, str] | None = None) -> str:
    """Return the prompt of one task in Alpaca's form, up to where the response begins.

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
    """Return the ids of a text, with one begin-of-text token where the model's tokenizer adds one and no
    end of text.
    """
    ids = tokenizer(prompt)["input_ids"]
    return ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids
