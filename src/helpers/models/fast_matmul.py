"""Fast matrix products on a CPU, where the processor has them.

PyTorch multiplies float32 matrices by MKL unless oneDNN is told that it may round the factors to bfloat16 and
add in float32. On processors with AMX it then does so, three times as fast; on some others (Zen 5) it
multiplies in full precision all the same, and still twice as fast; on those without AVX512-BF16 it falls
into a reference kernel, a hundred times slower. So it is switched on only where the processor has that
instruction, and a short trial guards against a build of PyTorch that does not use it. What was found
is kept beside the models, so that a run that computes nothing knows it without PyTorch, and a busy machine
cannot change it between runs.
"""

from __future__ import annotations

import json
import os
import platform
import time
from contextlib import suppress
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.files import sha256_text, write_text
from helpers.machine import name_processor
from helpers.paths import model_cache
from helpers.progress import tell

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

SHAPE = (512, 576, 1536)  # rows, in, out: a layer of the default model
TRIALS = 5
# times as fast, at least, to be left on: a busy machine must not decide, only a missing kernel
MIN_SPEEDUP = 0.5
EXACT = 1e-4  # largest difference, relative to the largest value, of products that are float32's own


CPU_INFO = Path("/proc/cpuinfo")
LIMITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")  # keep libraries off instructions


def find_matmul_dtype() -> str:
    """Return the same as `enable_fast_matmul`, without PyTorch where it was found before."""
    kept = _read_finding()
    return kept[1] if kept else enable_fast_matmul()


@lru_cache
def enable_fast_matmul() -> str:
    """Switch oneDNN's products on where the processor has them; return the format that factors are rounded
    to.

    Returns:
        'bfloat16' where they round, else 'float32'. It changes results, so fingerprints hold it.
    """
    import torch

    finding = _read_finding()
    if not finding:
        finding = _try_products()
        with suppress(OSError):  # where the cache cannot be written, the next run tries again
            write_text(_finding_file(), json.dumps(finding))
    switched_on, products = finding
    if switched_on:
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    return products


def has_bfloat16_products() -> bool:
    """Say whether the processor multiplies bfloat16 numbers itself (AVX512-BF16 or AMX)."""
    import torch

    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def tell_slow_products(device: str, dtype: str) -> None:
    """Say before a tuning where its products will be slow: where the processor lacks the instructions,
    PyTorch multiplies bfloat16 matrices of the backward pass in a reference kernel. We had no processors
    other than x86 to try.
    """
    is_tried = platform.machine().lower() in ("x86_64", "amd64")
    if (device, dtype) == ("cpu", "bfloat16") and is_tried and not has_bfloat16_products():
        tell(
            "This processor cannot multiply bfloat16 numbers (it has neither AVX512-BF16 nor AMX): tuning "
            "takes about a hundred times as long as in float32. Stop it and set dtype=float32, or use a GPU."
        )


def transpose_weight_layout(model: PreTrainedModel) -> None:
    """Lay the weights of a model's linear layers out column by column where oneDNN multiplies: for few rows,
    as in generation, it reads them so a third faster. Shapes and numbers stay.

    Weights that layers share, such as those of the vocabulary, stay as they are.
    """
    import torch

    if model.device.type != "cpu" or torch.backends.mkldnn.matmul.fp32_precision != "bf16":
        return
    for layer in model.modules():
        if (
            type(layer) is torch.nn.Linear
            and layer.weight.dtype is torch.float32
            and layer is not model.get_output_embeddings()
        ):
            layer.weight.data = layer.weight.data.T.contiguous().T


def list_instructions() -> list[str]:
    """Return the processor's wide instructions as Linux lists them: virtual machines with other instructions
    may give their processor the same name.
    """
    lines = CPU_INFO.read_text().splitlines() if CPU_INFO.is_file() else []
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return sorted(flag for flag in flags if flag.startswith(("avx", "amx")))


def _finding_file() -> Path:
    limits = (os.environ.get(name, "") for name in LIMITS)
    about = [metadata.version("torch"), name_processor(), *list_instructions(), *limits]
    return model_cache().parent / "products" / f"{sha256_text(json.dumps(about))[:16]}.json"


def _read_finding() -> tuple[bool, str] | None:
    try:
        switched_on, products = json.loads(_finding_file().read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    is_one = isinstance(switched_on, bool) and products in ("float32", "bfloat16")
    return (switched_on, products) if is_one else None


def _try_products() -> tuple[bool, str]:
    """Return whether oneDNN's products are worth it, and the format that factors are rounded to then."""
    import torch

    backend = torch.backends.mkldnn
    if not (backend.is_available() and has_bfloat16_products()):
        return False, "float32"
    random = torch.Generator().manual_seed(0)
    rows, inner, out = SHAPE
    x, weight = torch.randn(rows, inner, generator=random), torch.randn(out, inner, generator=random)
    plain, usual = _time_product(x, weight)
    backend.matmul.fp32_precision = "bf16"
    fast, found = _time_product(x, weight)
    backend.matmul.fp32_precision = "ieee"
    if plain < MIN_SPEEDUP * fast:
        return False, "float32"
    exact = (found - usual).abs().max() < EXACT * usual.abs().max()
    return True, "float32" if exact else "bfloat16"


def _time_product(x: torch.Tensor, weight: torch.Tensor) -> tuple[float, torch.Tensor]:
    """Return the fewest seconds of several products, and the product."""
    seconds = []
    for _ in range(TRIALS):
        started = time.perf_counter()
        product = x @ weight.T
        seconds.append(time.perf_counter() - started)
    return min(seconds), product
