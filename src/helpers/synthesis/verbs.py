"""Root verbs of instructions and the nouns they act on, as in the paper's Figure 1."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from HanTa.HanoverTagger import HanoverTagger

WORD = re.compile(r"[\w'-]+|[^\w\s]")
BARE_VERBS = ("VVB", "VVI")  # base forms, in the tags of the British National Corpus
NOUNS = ("NN0", "NN1", "NN2", "NP0")
BEFORE_NOUN = (
    "AT0",
    "DT0",
    "DPS",
    "DTQ",
    "AJ0",
    "AJC",
    "AJS",
    "AV0",
    "CRD",
    "ORD",
    "POS",
    "VVN",
    "VVG",
    "VVD",
    "PUQ",
    "ZZ0",
)
AFTER_IMPERATIVE = ("AT0", "DT0", "DPS", "PRP", "PRF", "TO0", "AVP")

Tagged = Sequence[tuple[str, str, str]]


@lru_cache
def load_tagger() -> HanoverTagger:
    """Return HanTa's English tagger (Wartena, 2019), whose model is part of its package."""
    from HanTa.HanoverTagger import HanoverTagger

    return HanoverTagger("morphmodel_en.pgz")


def find_root(instruction: str) -> tuple[str | None, str | None]:
    """Return the root verb of an instruction and its direct object, as lemmas; None for what it lacks.

    A rule, light and documented, in place of a parser: the root is the first verb in its base form, or the
    first word, whatever its tag, if an article, a determiner or a preposition follows ("Draft a letter"). The
    object is the last noun of the first row of nouns after the root, if nothing but articles, adjectives and
    the like stands between ("Simplify this veterinary discharge summary": summary). A question that holds no
    imperative has no root.
    """
    tagged: Tagged = load_tagger().tag_sent(WORD.findall(instruction), casesensitive=False)
    root = _find_verb(tagged)
    if root is None:
        return None, None
    verb = tagged[root][0] if root == 0 else tagged[root][1]
    return verb.lower(), _find_object(tagged[root + 1 :])


def _find_verb(tagged: Tagged) -> int | None:
    if len(tagged) > 1 and tagged[0][2] in NOUNS and tagged[1][2] in AFTER_IMPERATIVE:
        return 0
    return next(
        (
            index
            for index, (_, _, tag) in enumerate(tagged)
            if tag in BARE_VERBS and not _follows_helper(tagged, index)
        ),
        None,
    )


def _follows_helper(tagged: Tagged, index: int) -> bool:
    """Say whether a base form belongs to a question or an infinitive ("should the pump deliver", "to be
    given") rather than to an imperative.
    """
    for _, _, tag in reversed(tagged[:index]):
        if tag in ("VM0", "TO0", "VDB", "VDD", "VDZ", "DTQ", "AVQ", "PNQ"):
            return True
        if tag in ("PUN", "CJC"):
            return False
    return False


def _find_object(tagged: Tagged) -> str | None:
    found = None
    for _, lemma, tag in tagged:
        if tag in NOUNS:
            found = lemma.lower()
        elif found or tag not in BEFORE_NOUN:
            break
    return found


def count_roots(instructions: Iterable[str], n_verbs: int = 20, n_objects: int = 4) -> pd.DataFrame:
    """Return the commonest root verbs with their commonest objects (paper, Figure 1): verb, n, object,
    n_object; ties by the alphabet.
    """
    import pandas as pd

    roots = Counter(map(find_root, instructions))
    verbs: Counter[str] = Counter()
    for (verb, _), n in roots.items():
        if verb:
            verbs[verb] += n
    rows = []
    for verb in sorted(verbs, key=lambda verb: (-verbs[verb], verb))[:n_verbs]:
        objects = {noun: n for (of, noun), n in roots.items() if of == verb and noun}
        top = sorted(objects, key=lambda noun: (-objects[noun], noun))[:n_objects]
        rows += [
            {"verb": verb, "n": verbs[verb], "object": noun, "n_object": objects[noun]} for noun in top
        ] or [{"verb": verb, "n": verbs[verb], "object": "", "n_object": 0}]
    return pd.DataFrame(rows, columns=["verb", "n", "object", "n_object"])
