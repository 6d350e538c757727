"""What requests will cost, said before it is spent."""

from __future__ import annotations

from helpers.provider.journal import Journal
from helpers.provider.ledger import Ledger, ProviderLimits
from helpers.provider.prices import BATCH_DISCOUNT, PRICES_DATE


def explain_estimate(
    journal: Journal,
    limits: ProviderLimits,
    counts: tuple[int, int],
    tokens: tuple[float, float],
    hint: str,
    until: str = "",
) -> str:
    """Return in a few lines what the requests that are still to be asked will cost.

    Args:
        journal: of the model that is to be asked.
        limits: the caps.
        counts: requests that are missing, and all of them.
        tokens: estimated tokens in and out of those that are missing.
        hint: what to do if the cap comes too early, beside raising it.
        until: what is asked beside them, or may make them fewer.

    Raises:
        StudyError: the price is unknown and no cap in tokens is given.
    """
    ledger = Ledger(journal, limits)
    n_input, n_output = (n / 1e6 for n in tokens)
    lines = [
        f"{counts[0]} of {counts[1]} requests are still to be asked{until}: about {n_input:.2f} million "
        f"tokens in and {n_output:.2f} million out "
        "(reasoning not counted)."
    ]
    if ledger.price is None:
        return "\n".join(
            [
                *lines,
                f"The price of {journal.model.name!r} is unknown; the cap is {limits.max_cost_tokens:,} "
                f"tokens, {ledger.describe()}.",
            ]
        )
    cost = (BATCH_DISCOUNT if limits.batch else 1.0) * ledger.price.cost(*tokens)
    rate = (
        f"{ledger.price.input_usd:g} and {ledger.price.output_usd:g} US dollars a "
        f"million{', half of it in a batch' if limits.batch else ''}"
    )
    lines.append(
        f"At {rate} (prices of {PRICES_DATE}) that is about {cost:.2f} US dollars; the cap is "
        f"{limits.max_cost_usd:.2f}, {ledger.describe()}."
    )
    left = max(0.0, limits.max_cost_usd - ledger.spent.usd)
    if cost > left:
        lines.append(
            f"The cap will stop this after about {left / cost:.0%} of them. What is answered is kept; raise "
            f"the cap to go on, or {hint}."
        )
    return "\n".join(lines)
