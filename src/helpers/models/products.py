"""Fast matrix products on a CPU, where the processor has them.

PyTorch multiplies float32 matrices by MKL unless oneDNN is told that it may round the factors to bfloat16 and
add in float32. On processors with AMX it then does so, three times as fast; on some others (Zen 5) it
multiplies in full precision all the same, and still twice as fast; on those without AVX512-BF16 it falls
into a reference kernel, a hundred times slower. So it is switched on only where the processor has that
instruction, and a short trial guards against a build of PyTorch that does not use it.
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SHAPE = (512, 576, 1536)  # rows, in, out: a layer of the default model
TRIALS = 5
WORTH = 0.5  # times as fast, at least, to be left on: a busy machine must not decide, only a missing kernel
EXACT = 1e-4  # largest difference, relative to the largest value, of products that are float32's own


@lru_cache
def use_fast_products() -> str:
    """Switch oneDNN's products on where the processor has them; return the format that factors are rounded
    to.

    Returns:
        'bfloat16' where they round, else 'float32'. It changes results, and so belongs into fingerprints.
    """
    import torch

    backend = torch.backends.mkldnn
    if not (backend.is_available() and torch.cpu._is_avx512_bf16_supported()):
        return "float32"
    random = torch.Generator().manual_seed(0)
    rows, inner, out = SHAPE
    x, weight = torch.randn(rows, inner, generator=random), torch.randn(out, inner, generator=random)
    plain, usual = _time_product(x, weight)
    backend.matmul.fp32_precision = "bf16"
    fast, found = _time_product(x, weight)
    if plain < WORTH * fast:
        backend.matmul.fp32_precision = "ieee"
        return "float32"
    return "float32" if (found - usual).abs().max() < EXACT * usual.abs().max() else "bfloat16"


def _time_product(x: torch.Tensor, weight: torch.Tensor) -> tuple[float, torch.Tensor]:
    """Return the fewest seconds of several products, and the product."""
    seconds = []
    for _ in range(TRIALS):
        started = time.perf_counter()
        product = x @ weight.T
        seconds.append(time.perf_counter() - started)
    return min(seconds), product
