"""One base model for many adapters: loaded when first needed, adapters merged into it one at a time, its own
weights put back to the last bit.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.errors import StudyError
from helpers.models.hub import first_line
from helpers.models.load import AUTO, load_model, load_tokenizer, quiet_peft
from helpers.paths import shown
from helpers.store import Run, sha256_file, sha256_text
from helpers.tuning.lora import ADAPTER

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


class SharedBase:
    """A base model and its tokenizer, for the model as it is and for any number of adapters.

    An adapter is merged into the weights, so that base and tuned models run the very same layers. Taking it
    off again by subtraction would leave rounding errors behind; the weights that it changes are therefore
    kept and copied back (on a GPU they are kept in the main memory). Where they are not kept, and after an
    adapter that puts whole layers of its own in place of the base's, the base is loaded again.

    Attributes:
        name: the model, as `load_model` takes it.
        dtype: number format of the weights, as `load_model` takes it.
        keeps_weights: whether the weights that an adapter changes are kept; one adapter alone needs no copy.
    """

    def __init__(self, name: str, dtype: str = AUTO, keeps_weights: bool = True) -> None:
        self.name, self.dtype, self.keeps_weights = name, dtype, keeps_weights
        self._active_adapter: Path | None = None
        self._kept: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._altered = False

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer."""
        return load_tokenizer(self.name)

    @cached_property
    def _model(self) -> PreTrainedModel:
        return load_model(self.name, dtype=self.dtype)

    def merge(self, adapter: Path | None) -> PreTrainedModel:
        """Return the model with an adapter merged into it, or as it is; any other adapter is taken off first.

        Raises:
            StudyError: the adapter does not fit the model, or cannot be merged.
        """
        if adapter != self._active_adapter:
            self._restore_base()
            if adapter is not None:
                self._merge_adapter(adapter)
            self._active_adapter = adapter
        return self._model

    def _merge_adapter(self, adapter: Path) -> None:
        from peft import PeftModel
        from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
        from peft.utils.other import AuxiliaryTrainingWrapper

        try:
            with quiet_peft():
                wrapped = PeftModel.from_pretrained(self._model, adapter)
        except (RuntimeError, ValueError) as error:
            raise StudyError(
                f"The adapter in {shown(adapter)} does not fit {self.name!r}: {first_line(error)} "
                "Name the model it was tuned on."
            ) from None
        if not isinstance(wrapped.base_model, BaseTuner):
            raise StudyError(
                f"The adapter in {shown(adapter)} adds no weights that could be merged. Use one of LoRA's "
                "kind."
            )
        self._altered = not self.keeps_weights or any(
            isinstance(module, AuxiliaryTrainingWrapper) for module in wrapped.modules()
        )
        if not self._altered:
            layers = [
                module.get_base_layer() for module in wrapped.modules() if isinstance(module, BaseTunerLayer)
            ]
            self._kept = [
                (weight, weight.data.to("cpu", copy=True))
                for layer in layers
                for weight in layer.parameters()
            ]
        wrapped.merge_and_unload().eval()

    def _restore_base(self) -> None:
        for weight, kept in self._kept:
            weight.data.copy_(kept)
        if self._altered:
            del self._model
        self._kept, self._altered = [], False


def find_adapter(adapter: Run | Path | None) -> Path | None:
    """Return the folder of an adapter, whether a tuning run or a folder is given.

    Raises:
        StudyError: the folder does not hold an adapter as `save_pretrained` writes it with safetensors.
    """
    if adapter is None:
        return None
    folder = adapter.file(ADAPTER) if isinstance(adapter, Run) else Path(adapter)
    missing = [name for name in ADAPTER_FILES if not (folder / name).is_file()]
    if missing:
        raise StudyError(
            f"An adapter is a folder with {' and '.join(ADAPTER_FILES)}, but {shown(folder)} lacks "
            f"{missing[0]}. Save it with `save_pretrained`."
        )
    return folder


def identify_adapter(adapter: Path | None) -> str:
    """Return what stands for an adapter in a fingerprint: the sha256 of its settings and weights."""
    return sha256_text("".join(sha256_file(adapter / name) for name in ADAPTER_FILES)) if adapter else "none"
