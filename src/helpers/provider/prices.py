"""What a model's tokens cost: one small table, with its date."""

from __future__ import annotations

import dataclasses
import re

PRICES_DATE = "2026-11-22"  # the day on which the table was last compared with published price lists
BATCH_DISCOUNT = 0.5  # the Batch API answers within a day at half the price
# for estimates; SmolLM2's tokenizer gives 3.7 on the recorded replies, larger vocabularies somewhat more
BYTES_PER_TOKEN = 4.0
SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")


@dataclasses.dataclass(frozen=True)
class Price:
    """US dollars for a million tokens."""

    input_usd: float
    output_usd: float

    def cost(self, n_input: float, n_output: float) -> float:
        """Return US dollars for so many tokens in and out."""
        return (n_input * self.input_usd + n_output * self.output_usd) / 1e6


PRICES: dict[str, Price] = {
    "gpt-5.6-terra": Price(2.0, 12.0),
    "gpt-5.6-luna": Price(0.2, 1.2),
    "gpt-5.5": Price(5.0, 30.0),
    "gpt-5.4": Price(2.5, 15.0),
    "gpt-5.4-mini": Price(0.75, 4.5),
    "gpt-5.4-nano": Price(0.2, 1.25),
    "gpt-5-mini": Price(0.25, 2.0),
}


def find_price(model: str, base_url: str = "") -> Price | None:
    """Return the price of a model or of its dated snapshot; None where it is unknown, as for every server
    that a user names.
    """
    return None if base_url else PRICES.get(name_family(model))


def name_family(model: str) -> str:
    """Return a model's name without the date of its snapshot: one model under both names."""
    return SNAPSHOT.sub("", model)
