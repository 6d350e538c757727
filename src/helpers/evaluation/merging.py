"""One base model for many adapters: loaded when first needed, adapters merged into it one at a time, its own
weights put back to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.errors import StudyError
from helpers.machine import measure_main_memory
from helpers.models.adapters import check_folder, identify_adapter, is_plain_lora, load_adapter
from helpers.models.forward import SHORT, is_close, is_exact
from helpers.models.load import AUTO, has_gpu, identify_model, load_model, load_tokenizer
from helpers.paths import shown
from helpers.progress import tell
from helpers.store import Run
from helpers.tuning.stage import ADAPTER

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from peft.tuners.tuners_utils import BaseTunerLayer
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


UNSETTLED = ""  # no adapter's: whatever was interrupted between two is put right by the next


class SharedBase:
    """A base model and its tokenizer, for the model as it is and for any number of adapters.

    An adapter is merged into the weights, so that base and tuned models run the very same layers. Taking it
    off again by subtraction would leave rounding errors behind; the weights that it changes are therefore
    kept, once for all adapters, and copied back (on a GPU they are kept in the main memory). The base is
    loaded again in three cases:
    if the weights were not kept (there was no room, or one adapter alone needs no copy); after an adapter
    that changes more than the layers it is added to; and after an adapter that was refused.

    Attributes:
        name: the model, as `load_model` takes it.
        dtype: number format of the weights, as `load_model` takes it.
        keeps_weights: whether the weights that an adapter changes are kept; one adapter alone needs no copy.
    """

    def __init__(self, name: str, dtype: str = AUTO, keeps_weights: bool = True) -> None:
        self.name, self.dtype, self.keeps_weights = name, dtype, keeps_weights
        self._identity, self._active_adapter = "", identify_adapter(None)
        self._kept: dict[torch.Tensor, torch.Tensor] = {}
        self._altered = False

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer."""
        return load_tokenizer(self.name)

    @cached_property
    def _model(self) -> PreTrainedModel:
        return load_model(self.name, dtype=self.dtype)

    def leave_gpu(self) -> None:
        """Let go of a model on a GPU, where another is to be tuned; it is loaded again when it is needed."""
        if has_gpu():
            self._let_go()

    def _let_go(self) -> None:
        for name in ("_model", "tokenizer"):
            self.__dict__.pop(name, None)
        self._kept, self._active_adapter, self._altered = {}, identify_adapter(None), False

    def merge(self, adapter: Path | None) -> PreTrainedModel:
        """Return the model with an adapter merged into it, or as it is; any other adapter is taken off first.

        Raises:
            StudyError: the adapter does not fit the model, or cannot be merged.
        """
        identity = identify_model(self.name)
        if identity != self._identity:  # saved anew since it was loaded
            self._let_go()
            self._identity = identity
        wanted = identify_adapter(adapter)  # by its content: it may be saved anew as well
        if wanted != self._active_adapter:
            self._active_adapter = UNSETTLED
            self._restore_base()
            if adapter is not None:
                self._merge_adapter(adapter)
            self._active_adapter = wanted
        return self._model

    def _merge_adapter(self, adapter: Path) -> None:
        import torch
        from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer

        self._altered = True  # until the weights that a plain adapter changes are kept
        try:
            before = _read_probe(self._model)
            wrapped = load_adapter(self._model, adapter, self.name)
            if not isinstance(wrapped.base_model, BaseTuner):
                raise StudyError(
                    f"The adapter in {shown(adapter)} adds no weights that could be merged. Use one of "
                    "LoRA's kind."
                )
            added = [module for module in wrapped.modules() if isinstance(module, BaseTunerLayer)]
            untied = _untie(wrapped)
            plain = is_plain_lora(adapter)
            kept = self.keeps_weights and not untied and plain and self._keep_weights(added)
            beside = _read_probe(wrapped)
            # what is trained of single tokens may not show on those of the probe
            if plain and torch.equal(beside, before) and not _has_embeddings(wrapped):
                tell(f"The adapter in {shown(adapter)} changes nothing: its model scores as the base does.")
            wrapped.merge_and_unload().eval()
            self._check_merge(adapter, before, beside)
        except BaseException:
            self._restore_base()
            raise
        self._altered = not kept

    def _keep_weights(self, layers: Iterable[BaseTunerLayer]) -> bool:
        """Copy the weights that an adapter changes and no earlier one did, where the main memory has room for
        them; say whether all are kept.
        """
        weights = [weight for layer in layers for weight in layer.get_base_layer().parameters()]
        new = [weight for weight in weights if weight not in self._kept]
        # weights mapped from their file count as free memory, until merging makes them the process's own
        copies = 2 if self._model.device.type == "cpu" else 1
        if copies * sum(weight.nbytes for weight in new) >= measure_main_memory():
            return False
        self._kept |= {weight: weight.data.to("cpu", copy=True) for weight in new}
        return True

    def _check_merge(self, adapter: Path, before: torch.Tensor, beside: torch.Tensor) -> None:
        """Raise StudyError where a model into which an adapter was merged does not compute what the unmerged
        one does (`beside`). Rounding may take a thousandth of what the adapter does, in few bits up to half
        of it.
        """
        merged = _read_probe(self._model)
        rounding = 1e-3 if is_exact(self._model) else 0.5
        differs = (merged - beside).abs().max() > rounding * (beside - before).abs().max()
        if differs and not is_close(self._model, merged, beside):
            raise StudyError(
                f"The adapter in {shown(adapter)} cannot be merged into {self.name!r} without changing what "
                "it does. Use one of LoRA's kind."
            )

    def _restore_base(self) -> None:
        if self._altered:
            self.__dict__.pop("_model", None)
            self._kept = {}
        self._altered = True  # until all of them are back
        for weight, kept in self._kept.items():
            weight.data.copy_(kept)
        self._altered = False


def find_adapter(adapter: Run | Path | None) -> Path | None:
    """Return the folder of an adapter, whether a tuning run or a folder is given; that of a run is the
    study's own and needs no check, for which peft and PyTorch would have to be imported.

    Raises:
        StudyError: the folder does not hold an adapter as `save_pretrained` writes it with safetensors.
    """
    if isinstance(adapter, Run):
        return adapter.file(ADAPTER)
    if adapter:
        check_folder(adapter)
    return adapter


def _read_probe(model: PreTrainedModel | PeftModel) -> torch.Tensor:
    """Return the logits of a few tokens from all over the vocabulary, its last ones included."""
    import torch

    n_tokens = model.get_input_embeddings().weight.shape[0]
    ids = torch.linspace(0, n_tokens - 1, SHORT, device=model.device).long()[None]
    with torch.inference_mode():
        return model(input_ids=ids).logits.float()


def _has_embeddings(wrapped: PeftModel) -> bool:
    return any("lora_embedding" in name for name, _ in wrapped.named_parameters())


def _untie(wrapped: PeftModel) -> bool:
    """Give layers that an adapter is added to, and that share their weight with another layer, a weight of
    their own, so that merging changes them alone; say whether there were any.
    """
    import torch
    from peft.tuners.tuners_utils import BaseTunerLayer

    added = [module for module in wrapped.modules() if isinstance(module, BaseTunerLayer)]
    owners: dict[int, int] = {}
    for _, weight in wrapped.named_parameters(remove_duplicate=False):
        owners[id(weight)] = owners.get(id(weight), 0) + 1
    tied = [
        layer
        for layer in (module.get_base_layer() for module in added)
        if owners.get(id(getattr(layer, "weight", None)), 0) > 1
    ]
    for layer in tied:
        layer.weight = torch.nn.Parameter(layer.weight.detach().clone(), requires_grad=False)
    return bool(tied)
