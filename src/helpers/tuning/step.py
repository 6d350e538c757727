"""One optimiser step: micro-batches of like length, the loss on responses alone, gradients summed over
processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from helpers.models.forward import predict_positions
from helpers.tuning.rows import IGNORED, EncodedRow, collate

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel

# at a time through the model, padding included; a batch's gradients are summed
MICRO_BATCH_TOKENS = {"cpu": 1024, "cuda": 8192}
MICRO_BATCH_COST = 1 / 16  # of one more, as a share of these tokens: the weights are read once more
MAX_GRADIENT_NORM = 1.0


def take_step(
    model: PeftModel,
    optimizer: torch.optim.Optimizer,
    rows: Sequence[EncodedRow],
    rate: float,
    process: int = 0,
    n_processes: int = 1,
) -> tuple[float, int]:
    """Take one optimiser step on a batch.

    The loss is the mean over all response tokens of the batch, so it does not depend on how the batch is
    cut into micro-batches or shared out among processes. Every process ends with the same gradients, and so
    with the same adapter.

    Args:
        model: the model with its adapter.
        optimizer: over the adapter's weights.
        rows: the whole batch, the same in every process.
        rate: learning rate of this step.
        process: number of this process.
        n_processes: how many share the batch.

    Returns:
        The loss and the number of tokens of the batch, padding aside.
    """
    import torch

    n_response = sum(row.n_response for row in rows)
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    total = torch.zeros((), device=model.device)
    for part, factor in list_micro_batches(rows, MICRO_BATCH_TOKENS[model.device.type], process, n_processes):
        loss = response_loss(model, collate(part)) * (factor / n_response)
        loss.backward()
        total += loss.detach()
    if n_processes > 1:
        sum_over_processes([total, *(weight.grad for weight in weights)])
    for group in optimizer.param_groups:
        group["lr"] = rate
    torch.nn.utils.clip_grad_norm_(weights, MAX_GRADIENT_NORM)
    optimizer.step()
    optimizer.zero_grad()
    return total.item(), sum(len(row.input_ids) for row in rows)


def list_micro_batches(
    rows: Sequence[EncodedRow], n_tokens: int, process: int = 0, n_processes: int = 1
) -> list[tuple[list[EncodedRow], int]]:
    """Return a process's micro-batches of a batch, each with its factor: 1, or 0 for a repeated one.

    Rows of like length go to the processes in turn. Every process goes through the model equally often, as
    sharded weights ask for; one that has less to do repeats a micro-batch that does not count.
    """
    ordered = sorted(rows, key=lambda row: len(row.input_ids))
    shares = [split_batch(ordered[number::n_processes], n_tokens) for number in range(n_processes)]
    # sharded weights are gathered by all processes at once: who is done early must still go through the model
    n_idle = max(map(len, shares)) - len(shares[process])
    return [(part, 1) for part in shares[process]] + [(shares[0][0], 0)] * n_idle


def split_batch(rows: Sequence[EncodedRow], n_tokens: int) -> list[list[EncodedRow]]:
    """Cut a batch into micro-batches of at most `n_tokens`, padding included, so that padding and the number
    of micro-batches cost least; a row that is longer goes alone.
    """
    ordered = sorted(rows, key=lambda row: len(row.input_ids))
    extra = MICRO_BATCH_COST * n_tokens
    # of the first 0, 1, ... rows: tokens, parts
    best: list[tuple[float, list[list[EncodedRow]]]] = [(0.0, [])]
    for end, row in enumerate(ordered, 1):
        padded = [(len(row.input_ids) * (end - start), start) for start in range(end)]
        best.append(
            min(
                (
                    (best[start][0] + size + extra, [*best[start][1], ordered[start:end]])
                    for size, start in padded
                    if size <= n_tokens or start == end - 1
                ),
                key=lambda choice: choice[0],
            )
        )
    return best[-1][1]


def response_loss(model: PeftModel, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the summed cross-entropy of the response tokens."""
    import torch

    logits, targets = predict_responses(model.get_base_model(), batch)
    return torch.nn.functional.cross_entropy(logits, targets[targets != IGNORED], reduction="sum")


def predict_responses(
    model: PreTrainedModel, batch: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what a model predicts of the responses of a batch; vocabulary logits are computed for their
    tokens alone.

    Returns:
        The logits of the response tokens, row by row, shape (tokens, vocabulary); the ids that were to come,
        shape (rows, length - 1), `IGNORED` where they are not a response.
    """
    import torch

    input_ids, targets = batch["input_ids"].to(model.device), batch["labels"][:, 1:].to(model.device)
    wanted = torch.nn.functional.pad(targets != IGNORED, (0, 1))
    return predict_positions(model, input_ids, wanted), targets


def sum_over_processes(tensors: Sequence[torch.Tensor]) -> None:
    """Replace each tensor by its sum over all processes, in one exchange."""
    import torch

    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    torch.distributed.all_reduce(flat)
    for tensor, summed in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(summed.view_as(tensor))
