"""Root verbs and their objects."""

import pytest

from helpers.synthesis.verbs import count_roots, find_root


@pytest.mark.parametrize(
    ("instruction", "root"),
    [
        ("Simplify this veterinary discharge summary for a puppy's owner", ("simplify", "summary")),
        ("List every organism named in the report", ("list", "organism")),
        ("Draft an SBAR call from the night nurse", ("draft", "call")),
        ("Using the conversation, write only the social history", ("write", "history")),
        ("Send back a brief, polite letter", ("send", "letter")),
        ("Spell out all abbreviations in the note", ("spell", "abbreviation")),
        ("Which side is meant? Answer with one word.", ("answer", None)),
        ("Decide whether statement B follows from statement A", ("decide", None)),
        ("Which organism is the likeliest culprit?", (None, None)),
        ("How many milliliters per hour should the pump deliver?", (None, None)),
    ],
)
def test_the_rule_finds_verb_and_object(instruction, root):
    assert find_root(instruction) == root


def test_counts_are_ordered_and_ties_go_by_the_alphabet():
    table = count_roots(
        ["List the drugs", "List the drugs", "List the genes", "Find the drug", "Explain the dose"], n_verbs=2
    )
    assert table.to_dict("records") == [
        {"verb": "list", "n": 3, "object": "drug", "n_object": 2},
        {"verb": "list", "n": 3, "object": "gene", "n_object": 1},
        {"verb": "explain", "n": 1, "object": "dose", "n_object": 1},
    ]
