"""The LoRA adapter: the layers that get one, its fresh weights from a seed, and its folder, which plain peft
loads.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.errors import StudyError
from helpers.files import write_text
from helpers.models.adapters import CONFIG, WEIGHTS, check_folder, is_plain_lora, read_config
from helpers.models.load import quiet_peft
from helpers.models.weights import read_shapes
from helpers.models.wheels import name_upstream
from helpers.paths import shown
from helpers.settings import check_settings

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from peft import PeftModel

    from helpers.tuning.settings import TuningSettings


def attach_adapter(model: torch.nn.Module, settings: TuningSettings) -> PeftModel:
    """Return the model with a fresh LoRA adapter, whose start depends on the training seed alone (Hu et al.,
    2022).

    Raises:
        StudyError: the model has no layer of a name in `target_modules`.
    """
    import torch
    from peft import LoraConfig, TaskType, get_peft_model

    targets = (
        settings.target_modules
        if settings.target_modules == "all-linear"
        else settings.target_modules.split("+")
    )
    config = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=targets,
        exclude_modules=_match_outside_text(model),
        task_type=TaskType.CAUSAL_LM,
    )
    torch.manual_seed(settings.training_seed)
    try:
        with quiet_peft():
            return get_peft_model(model, config).train()
    except ValueError as error:
        raise StudyError(
            "`target_modules` must be 'all-linear' or names of linear layers joined by '+', but "
            f"{settings.target_modules!r} was found: {error}"
        ) from None


def _match_outside_text(model: torch.nn.Module) -> str | None:
    """Return a pattern of the modules that a text never runs through, such as the vision tower of a model of
    texts and images, as peft matches names; None where there are none.
    """
    text = getattr(model, "get_decoder", lambda: None)()
    if text is None or text is model:
        return None
    run = {*text.modules(), model.get_output_embeddings()}
    outside: list[str] = []
    for name, module in model.named_modules():
        is_within = any(name.startswith(f"{other}.") for other in outside)
        if not is_within and any(True for _ in module.parameters()) and run.isdisjoint(module.modules()):
            outside.append(name)
    return rf"({'|'.join(map(re.escape, outside))})(\..*)?" if outside else None


def list_matrices(n_in: int, n_out: int, rank: int) -> pd.DataFrame:
    """Return the matrices of one layer with LoRA: matrix ('W', 'B', 'A'), n_rows, n_columns, learnt."""
    import pandas as pd

    rows = [("W", n_out, n_in, False), ("B", n_out, rank, True), ("A", rank, n_in, True)]
    return pd.DataFrame(rows, columns=["matrix", "n_rows", "n_columns", "learnt"])


def read_matrices(folder: Path) -> pd.DataFrame:
    """Return `list_matrices` of a layer of a stored adapter: one that widens the hidden state inside a block,
    or the first where no such layer was tuned. The embeddings come last, as a layer from a token to its
    vector.
    """
    shapes = read_shapes([folder / WEIGHTS])
    pairs = _pair_matrices(sorted(shapes, key=lambda name: "lora_embedding" in name))
    name = next((name for name in pairs if "up_proj" in name), next(iter(pairs)))
    rank, n_in = shapes[name]
    return list_matrices(n_in, shapes[pairs[name]][0], rank)


def measure_held_shares(folder: Path) -> pd.Series:
    """Return which share of a stored adapter one of a lower rank could hold, by that rank: of the squares of
    the singular values of B A, the mean over the layers (Eckart and Young, 1936). A layer that is narrower
    than the adapter's rank is held whole by its own width.
    """
    import numpy as np
    import pandas as pd
    import torch
    from safetensors.torch import load_file

    weights, squares = load_file(folder / WEIGHTS), []
    for a, b in _pair_matrices(weights).items():
        rank = len(weights[a])
        left, right = torch.linalg.qr(weights[b].float()).R, torch.linalg.qr(weights[a].float().T).R
        values = torch.linalg.svdvals(left @ right.T).numpy()
        squares.append(np.pad(values, (0, rank - len(values))) ** 2)
    held = np.cumsum(squares, axis=1)
    shares = (held / held[:, -1:]).mean(axis=0)
    return pd.Series(shares, pd.RangeIndex(1, len(shares) + 1, name="rank"), name="held")


def _pair_matrices(names: Iterable[str]) -> dict[str, str]:
    """Return the name of each layer's B by that of its A; those of embeddings are `lora_embedding_A` and
    `lora_embedding_B`.
    """
    ends = ("lora_A.weight", "lora_embedding_A")
    return {name: "_B".join(name.rsplit("_A", 1)) for name in names if name.endswith(ends)}


def adopt_parent(settings: TuningSettings, parent: Path) -> TuningSettings:
    """Return settings with the rank, the scale, the dropout and the layers of an adapter to go on from.

    Raises:
        StudyError: the adapter is not plain LoRA, or it has a setting that a run cannot have.
    """
    check_folder(parent)
    config = read_config(parent)
    if not is_plain_lora(parent) or config.get("rank_pattern") or config.get("alpha_pattern"):
        raise StudyError(
            f"Tuning cannot go on from the adapter in {shown(parent)}: it must be plain LoRA, without DoRA, "
            "biases, saved layers or ranks of single layers. Merge it (`study merge`) and tune the merged "
            "model."
        )
    names = {key.split(".lora_")[0].rsplit(".", 1)[-1] for key in read_shapes([parent / WEIGHTS])}
    alpha = config.get("lora_alpha")
    adopted = dataclasses.replace(
        settings,
        lora_rank=config.get("r"),
        lora_alpha=int(alpha) if isinstance(alpha, float) and alpha.is_integer() else alpha,
        lora_dropout=config.get("lora_dropout") or 0.0,
        target_modules="+".join(sorted(names)),
    )
    try:
        check_settings(adopted)
    except StudyError as error:
        raise StudyError(f"Tuning cannot go on from the adapter in {shown(parent)}: {error}") from None
    return adopted


def measure_b_norm(model: PeftModel) -> float:
    """Return the largest norm of the adapter's B matrices (of embeddings, of A); they start at zero, so zero
    means that nothing was learnt.
    """
    norms = [
        weight.detach().float().norm().item()
        for name, weight in model.named_parameters()
        if any(part in name for part in ("lora_B", "lora_embedding_A"))
    ]
    return max(norms) if all(map(math.isfinite, norms)) else math.inf


def save_adapter(model: PeftModel, name: str, folder: Path) -> None:
    """Save the adapter as safetensors; its configuration names the model as a hub knows it, not where it lay.

    Raises:
        StudyError: the adapter has learnt nothing (every B matrix is zero), or holds what is not
            finite.
    """
    norm = measure_b_norm(model)
    if not math.isfinite(norm):
        raise StudyError(
            f"The adapter holds numbers that are not finite after tuning (largest norm {norm}). Lower "
            "`learning_rate`; nothing was stored."
        )
    if not norm:
        raise StudyError(
            "The adapter is empty after tuning: every B matrix is zero. Raise `learning_rate` or `epochs`."
        )
    model.save_pretrained(folder, save_embedding_layers=False)
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = name_upstream(name)
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()
    write_text(folder / CONFIG, json.dumps(config, indent=1, sort_keys=True) + "\n")
    (folder / "README.md").unlink(missing_ok=True)
