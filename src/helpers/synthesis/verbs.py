"""Root verbs of instructions and the nouns they act on, as in the paper's Figure 1."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

WORD = re.compile(r"[\w'’-]+|[^\w\s]")
PAUSES = frozenset(",;:.!?()–—")
OPENERS = ("please", "then", "and")  # an imperative may follow
WORDS = {
    "particles": "out up down off back away",
    "before a noun": """
        a an the this that these those any all each every both some another other one two three four five six
        seven eight nine ten my your his her its our their more most many few several single own""",
    "no noun": """
        of in on at by for from to with without within into onto over under about after before between among
        through during per as than like via against plus and or but nor so if when while where why how who
        whom whether because although which what whose i you he she it we they me him us them itself
        themselves is are was were be been being am do does did has have had can could may might must shall
        should will would not then there yes no maybe""",
    "helpers": "to can could may might must shall should will would do does did not i you we they",
    "asking": """
        who whom whose which what when where why how is are was were do does did has have can could may might
        must shall should will would""",
}
PARTICLES, BEFORE_NOUN, NO_NOUN, HELPERS, ASKING = (frozenset(words.split()) for words in WORDS.values())

Kinds = Mapping[str, Sequence[str]]


@lru_cache(maxsize=20_000)
def look_up(word: str) -> Kinds:
    """Return what a word can be, with its lemmas, by LemmInflect's dictionary (from the SPECIALIST Lexicon of
    the National Library of Medicine), such as {'NOUN': ('drug',), 'VERB': ('drug',)}; empty for an unknown
    one.
    """
    from lemminflect import getAllLemmas

    return getAllLemmas(word)


def find_root(instruction: str) -> tuple[str | None, str | None]:
    """Return the root verb of an instruction and its direct object, as lemmas; None for what it lacks.

    A rule, light and documented, in place of a parser: the root is the first verb in its base form that
    begins the sentence or follows a pause, adverbs aside; where there is none and nothing is asked, the
    first word that can be nothing but a verb in its base form and does not follow a helper ("should", "to").
    The object is the last noun of the first row of nouns after the root, if nothing but articles, adjectives
    and the like stands between ("Simplify this veterinary discharge summary": summary).
    """
    words = WORD.findall(instruction.lower())
    root = _find_verb(words)
    return (None, None) if root is None else (words[root], _find_object(words[root + 1 :]))


def _find_verb(words: Sequence[str]) -> int | None:
    begins = True
    for index, word in enumerate(words):
        if begins and _is_base_form(word) and not _is_subject(words, index):
            return index
        begins = word in PAUSES or word in OPENERS or (begins and set(look_up(word)) == {"ADV"})
    if words and (words[0] in ASKING or words[-1] == "?"):
        return None
    return next(
        (
            index
            for index, word in enumerate(words)
            if _is_base_form(word) and set(look_up(word)) == {"VERB"} and not _follows_helper(words[:index])
        ),
        None,
    )


def _is_base_form(word: str) -> bool:
    return word not in {*NO_NOUN, *BEFORE_NOUN, *OPENERS} and word in look_up(word).get("VERB", ())


def _is_subject(words: Sequence[str], index: int) -> bool:
    """Say whether a word that can be a verb is a noun here, since a verb or "of" follows ("Water is", "Use
    of").
    """
    following = words[index + 1] if index + 1 < len(words) else ""
    return following in ("of", "is", "are", "was", "were", "has", "have", "can", "should", "and")


def _follows_helper(before: Sequence[str]) -> bool:
    for word in reversed(before):
        if word in PAUSES:
            return False
        if word in HELPERS or word in ASKING:
            return True
    return False


def _find_object(words: Sequence[str]) -> str | None:
    found = None
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if found is None and (word == "," or (following == "," and "ADJ" in look_up(word))):
            continue  # "a brief, polite letter"
        if word in PAUSES or word in NO_NOUN or (found and word in BEFORE_NOUN | PARTICLES):
            break
        if (
            word in BEFORE_NOUN | PARTICLES
            or word.endswith(("'s", "’s"))
            or word.isdecimal()
            or not word[0].isalnum()
        ):
            continue
        noun = _name_noun(word)
        if noun and not (found and _is_participle(word)):
            found = noun
        elif found:
            break
    return found


def _name_noun(word: str) -> str | None:
    """Return a word's lemma as a noun, or None; unknown words ("SBAR") and names of actions ("wording") are
    nouns too.
    """
    kinds = look_up(word)
    if "NOUN" in kinds:
        return kinds["NOUN"][0]
    return word if not kinds or (word.endswith("ing") and set(kinds) == {"VERB"}) else None


def _is_participle(word: str) -> bool:
    """Say whether a word after a noun describes it ("drugs given") rather than continues it."""
    verbs = look_up(word).get("VERB", (word,))
    return word not in verbs and not word.endswith(("s", "ing"))


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
