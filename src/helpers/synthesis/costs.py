"""What a synthesis will cost, said before it is spent, and what it cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from statistics import fmean
from typing import TYPE_CHECKING

from helpers.jsonl import read_rows
from helpers.provider.batch_records import list_batched
from helpers.provider.estimate import explain_estimate
from helpers.provider.exchanges import find_missing
from helpers.provider.journal import Journal
from helpers.provider.ledger import Ledger, ProviderLimits
from helpers.provider.prices import BATCH_DISCOUNT, BYTES_PER_TOKEN, PRICES
from helpers.records import SeedTask, TeacherReply
from helpers.store import plan_only
from helpers.synthesis.parsing import parse_reply
from helpers.synthesis.pipeline import build_exchanges, plan_requests, read_seed_tasks, synthesize
from helpers.synthesis.requests import build_label_request
from helpers.synthesis.settings import CLASSIFIER, RECORDED, SynthesisSettings
from helpers.synthesis.teacher import REPLIES, build_teacher

if TYPE_CHECKING:
    import pandas as pd

LABEL_BYTES = 11  # '"12": "gen"' and a comma


@dataclasses.dataclass(frozen=True)
class Tokens:
    """Estimated tokens of one request with its labels."""

    n_input: float
    n_output: float


def estimate_request(settings: SynthesisSettings, seeds: Mapping[str, SeedTask]) -> Tokens:
    """Return the mean tokens of a request, estimated from the prompts it will send and from the length of the
    recorded replies.

    A token is taken for four bytes. Tokens that a model spends on reasoning are NOT covered: they are billed
    as output and can be several times as many.
    """
    few = dataclasses.replace(settings, n_requests=min(settings.n_requests, 48))
    n_input = fmean(len(prompt.encode()) for _, _, prompt in plan_requests(few, seeds))
    replies = read_rows(REPLIES, TeacherReply)
    n_output = fmean(len(reply.text.encode()) for reply in replies)
    if settings.asks_for_labels:
        listed = [
            [task for task in parse_reply(reply.text, reply.finish_reason) if task.is_complete]
            for reply in replies
        ]
        n_input += fmean(len(build_label_request(tasks).encode()) for tasks in listed)
        n_output += LABEL_BYTES * fmean(map(len, listed))
    return Tokens(n_input / BYTES_PER_TOKEN, n_output / BYTES_PER_TOKEN)


def explain_cost(settings: SynthesisSettings, limits: ProviderLimits) -> str:
    """Return in a few lines what the requests that are still to be asked will cost: none of a synthesis that
    is stored, and of those that batches hold their labels alone; empty for recorded replies.

    Raises:
        StudyError: the price is unknown and no cap in tokens is given.
    """
    if settings.teacher == RECORDED:
        return ""
    seeds = read_seed_tasks()
    journal = Journal(build_teacher(settings))
    batched = list_batched(journal.folder, Ledger(journal, limits).list_batch_reservations())
    is_stored = plan_only(synthesize, settings).is_stored
    missing = [] if is_stored else list(find_missing(build_exchanges(settings, seeds), journal))
    held, bodies = [], []
    for body in missing:
        (held if journal.hash_request(body) in batched else bodies).append(body)
    prompts = {prompt for *_, prompt in plan_requests(settings, seeds)}
    n_tasks, n_held_tasks = (
        sum(body["messages"][0]["content"] in prompts for body in some) for some in (bodies, held)
    )
    whole = estimate_request(settings, seeds)
    tasks = estimate_request(dataclasses.replace(settings, labeller=CLASSIFIER), seeds)
    n_labels = len(bodies) - n_tasks + n_held_tasks  # tasks are asked for, their categories are still to be
    n_input = n_tasks * whole.n_input + n_labels * (whole.n_input - tasks.n_input)
    n_output = n_tasks * whole.n_output + n_labels * (whole.n_output - tasks.n_output)
    follows = " (their labels are asked for later)" if n_held_tasks and whole != tasks else ""
    until = f", beside {len(held)} that batches hold{follows}" if held else ""
    until += ", fewer if the target is reached before" if bodies and settings.target_rows else ""
    hint = "lower `n_requests` or `target_rows`, name a cheaper teacher, or set `batch=true` (--batch)"
    return explain_estimate(
        journal, limits, (len(bodies), settings.n_requests), (n_input, n_output), hint, until
    )


def tabulate_costs(settings: SynthesisSettings, n_rows: int, kept_per_request: float) -> pd.DataFrame:
    """Return what so many rows would cost with each model of the price table: model, prices per million
    tokens, US dollars live and in batches.

    Args:
        settings: of the requests.
        n_rows: rows to be kept.
        kept_per_request: rows that a request yields.
    """
    import pandas as pd

    each = estimate_request(settings, read_seed_tasks())
    n_requests = n_rows / kept_per_request
    rows = []
    for model, price in PRICES.items():
        usd = n_requests * price.cost(each.n_input, each.n_output)
        prices = {"usd_per_million_in": price.input_usd, "usd_per_million_out": price.output_usd}
        rows.append(
            {"model": model}
            | prices
            | {"usd_live": round(usd, 2), "usd_batch": round(BATCH_DISCOUNT * usd, 2)}
        )
    return pd.DataFrame(rows)


def tabulate_tokens(settings: SynthesisSettings) -> pd.DataFrame:
    """Return the estimated tokens of one request: part, tokens_in, tokens_out."""
    import pandas as pd

    seeds = read_seed_tasks()
    both = estimate_request(settings, seeds)
    tasks = estimate_request(dataclasses.replace(settings, labeller=CLASSIFIER), seeds)
    rows = {
        "tasks": tasks,
        "categories": Tokens(both.n_input - tasks.n_input, both.n_output - tasks.n_output),
        "together": both,
    }
    return pd.DataFrame(
        {"part": part, "tokens_in": round(each.n_input), "tokens_out": round(each.n_output)}
        for part, each in rows.items()
    )
