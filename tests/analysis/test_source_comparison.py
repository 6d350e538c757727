"""The reference run by score beside other sources."""

import pandas as pd
import pytest

from helpers.analysis import reference_losses, source_comparison, wording
from helpers.study.losses import LossTables

LOSSES = pd.DataFrame(
    {"text": [2.0, 9.0], "end": [1.0, 1.0]},
    index=pd.MultiIndex.from_tuples([("held_out_qa", "a"), ("exam_choice", "b")], names=["task", "item"]),
)


def make_tables(*cells: tuple[str, int, int | None]) -> LossTables:
    """Return losses of cells given as (name, rows, seed): each the same, less its training seed's tenth."""
    ids = [name if name == "base" else f"{name}-n{n_rows}-s{seed}" for name, n_rows, seed in cells]
    table = pd.DataFrame(cells, columns=["cell", "n_rows", "seed"]).assign(id=ids)
    values = {
        part: pd.DataFrame(
            {one: LOSSES[part] - (seed or 0) / 10 for one, (_, _, seed) in zip(ids, cells, strict=True)}
        )
        for part in LOSSES
    }
    items = pd.DataFrame(
        {"category": "qa", "n_text_tokens": [2, 9], "n_text_bytes": [8, 36]}, index=LOSSES.index
    )
    return LossTables(values, items, table, {})


def test_the_reference_losses_are_the_lattices_own_on_held_out_rows_under_whole_seeds():
    tables = make_tables(
        ("base", 0, None), ("qa", 4, 1), ("ie", 4, 1), ("qa", 4, 2), ("qa", 9, 1), ("qa", 4, 3), ("ie", 4, 3)
    )
    assert reference_losses.count_lattice_rows(tables) == 4
    items = reference_losses.select_loss_items(tables, ["base", "qa", "ie"])
    assert set(items["seed"]) == {1, 3}
    assert set(items["task"]) == {"held_out_qa"}
    gains = items.set_index(["cell", "seed"])["score"]
    assert gains["qa", 3] - gains["base", 3] == pytest.approx(0.6 / 3)  # text and end, over three tokens


def make_gains(**rows: tuple[float, float]) -> pd.DataFrame:
    """Return gains by source, each a pair of ends of its interval: 'paper_qa' is the paper's gain on QA
    tasks.
    """
    named = [(*name.rsplit("_", 1), sum(ends) / 2, *ends) for name, ends in rows.items()]
    table = pd.DataFrame(named, columns=["source", "tested_on", "estimate", "low", "high"])
    return table.assign(label=table["tested_on"] + " tasks")


def test_only_clear_gains_can_contradict_a_clear_gain_of_the_papers():
    paper = {"paper_qa": (0.1, 0.2), "paper_ie": (0.1, 0.2), "paper_gen": (-0.1, 0.2)}
    first = {"score_gemma_qa": (-0.2, -0.1), "score_gemma_ie": (-0.2, 0.1), "score_gemma_gen": (-0.2, -0.1)}
    second = {"score_smollm2_qa": (0.1, 0.2), "score_smollm2_ie": (0.1, 0.2), "score_smollm2_gen": (0.1, 0.2)}
    table = make_gains(**paper, **first, **second)
    assert source_comparison.list_contradictions(table) == "qa tasks"
    assert source_comparison.list_contradictions(table, source_comparison.SCORE_SMOLLM2) == "none"
    assert source_comparison.count_agreements(table, ["tested_on"]) == {
        "n": 2,
        "n_agree": 0,
        "n_clear": 1,
        "n_clear_agree": 0,
        "n_unknown": 1,
    }


def make_corrected_gains(**gains: tuple[float, float, float]) -> pd.DataFrame:
    """Return a corrected table of gains: 'qa_gen' is what tuning on QA gives on generation, as
    (low, high, p).
    """
    named = [(*name.split("_"), (low + high) / 2, low, high, p) for name, (low, high, p) in gains.items()]
    return pd.DataFrame(named, columns=["trained_on", "tested_on", "estimate", "low", "high", "p_holm"])


def test_a_sentence_says_which_instructions_helped_and_which_hurt():
    up, down, wide = (0.1, 0.3, 0.001), (-0.3, -0.1, 0.001), (-0.1, 0.3, 0.3)
    gains = make_corrected_gains(
        qa_qa=up,
        qa_ie=up,
        qa_gen=up,
        ie_qa=wide,
        ie_ie=wide,
        ie_gen=wide,
        gen_qa=down,
        gen_ie=wide,
        gen_gen=up,
    )
    assert wording.describe_transfer(gains) == (
        "Question-answering instructions made right answers more likely on all three categories; "
        "extraction instructions changed them on none clearly; "
        "generation instructions made them more likely on generation and less likely on question answering."
    )


def test_a_sentence_says_which_pairs_were_more_or_less_than_their_parts():
    synergies = make_corrected_gains(**{"qa+gen_qa": (0.15, 0.49, 0.02), "qa+ie_qa": (-0.1, 0.3, 0.3)})
    synergies = synergies.rename(columns={"trained_on": "contrast"})
    assert wording.describe_synergies(synergies) == (
        "A pair was clearly above the mean of its two parts in 1 of 2 comparisons (question answering and "
        "generation instructions on question answering, +0.32 [0.15, 0.49] nats per token), and clearly "
        "below it in 0 of 2 comparisons."
    )


def test_a_sentence_says_how_often_shuffled_rows_gained_less():
    beyond = make_corrected_gains(qa_qa=(0.2, 0.4, 0.01), ie_qa=(-0.4, -0.2, 0.01), gen_qa=(-0.1, 0.3, 0.3))
    assert wording.describe_shuffled(beyond.assign(control=[-0.1, 0.2, -0.3])) == (
        "Tuned on rows whose responses were exchanged within a category, models were clearly worse than with "
        "the rows as they are in 1 of 3 comparisons. In 2 the estimate was below that before tuning, so this "
        "control does not say how much of a gain is content."
    )
    assert wording.describe_shuffled(beyond.assign(control=0.1)).endswith("in 1 of 3 comparisons.")


def test_a_sentence_says_how_often_a_pair_is_better_than_its_better_part():
    better = pd.DataFrame({"low": [0.1, -0.2, -0.3], "high": [0.2, 0.2, -0.1]})
    assert wording.describe_better_parts(better) == (
        "Against the better of its two parts, the interval lay above zero in 1 of 3 comparisons, and below "
        "zero in 1 (not corrected for their number)."
    )


def test_a_sentence_counts_the_test_sets_that_each_category_helps():
    gains = pd.DataFrame(
        [("qa", "a", 0.2, 0.01), ("ie", "a", -0.2, 0.01), ("qa", "b", 0.2, 0.2), ("ie", "b", 0.3, 0.01)],
        columns=["cell", "task", "estimate", "p_holm"],
    )
    gains = gains.assign(low=gains["estimate"] - 0.1, high=gains["estimate"] + 0.1, n_seeds=3)
    assert wording.describe_task_gains(gains) == (
        "Of 2 public test sets, right answers (without their end) became clearly more likely on 1 after "
        "tuning on question answering, and on 1 and less likely on 1 after tuning on extraction (3 training "
        "seeds)."
    )


def test_a_sentence_says_which_synergies_held_again_with_another_number_of_rows():
    def of_size(n_rows, **gains):
        return make_corrected_gains(**gains).rename(columns={"trained_on": "contrast"}).assign(n_rows=n_rows)

    up, down, wide = (0.15, 0.49, 0.02), (-0.49, -0.15, 0.02), (-0.1, 0.3, 0.3)
    first = of_size(150, **{"qa+gen_qa": up, "qa+ie_qa": wide})
    again, turned = of_size(300, **{"qa+gen_qa": up}), of_size(600, **{"qa+gen_qa": down, "qa+ie_qa": up})
    assert wording.describe_confirmation(first, pd.concat([first, again, turned]), 150) == (
        "With 300 rows per model the one clear difference held again. With 600 rows per model the one clear "
        "difference did not hold again."
    )
    both = of_size(150, **{"qa+gen_qa": up, "qa+ie_qa": up})
    assert wording.describe_confirmation(both, pd.concat([both, turned]), 150) == (
        "With 600 rows per model 1 of the 2 clear differences held again."
    )
    nothing = of_size(150, **{"qa+gen_qa": wide})
    assert wording.describe_confirmation(nothing, pd.concat([nothing, again]), 150) == ""
    assert wording.describe_confirmation(first, first, 150) == ""


def test_a_sentence_says_which_synergies_held_again_where_lengths_match():
    def of_rows(kind, **gains):
        table = make_corrected_gains(**gains).rename(columns={"trained_on": "contrast"})
        return table.assign(rows=kind, n_rows=300)

    up, wide = (0.15, 0.49, 0.02), (-0.1, 0.3, 0.3)
    plain = of_rows("as they are", **{"qa+gen_qa": up, "qa+gen_gen": up, "qa+ie_qa": wide})
    control = of_rows("control", **{"qa+gen_qa": up, "qa+gen_gen": wide, "qa+ie_qa": up})
    difference = of_rows("difference", **{"qa+gen_qa": wide, "qa+gen_gen": wide, "qa+ie_qa": up})
    of_fewer_seeds = of_rows("as they are", **{"qa+gen_qa": wide, "qa+gen_gen": wide, "qa+ie_qa": wide})
    matched = pd.concat([of_fewer_seeds, control, difference], ignore_index=True)
    said = (
        "Among models of 300 rows, {} of 3 differences between a pair and the mean of its parts were clear. "
        "{} of them held again with responses of about the same lengths in all categories, and 1 of 3 "
        "changed clearly (question answering and extraction instructions on question answering, "
        "+0.10 before and +0.32 then, a difference of +0.32 [0.15, 0.49] nats per token). Such rows are a "
        "selection, so length need not be the reason."
    )
    for found, words in ((plain, (2, 1)), (of_fewer_seeds, (0, "None"))):
        by_size = pd.concat([found, plain.assign(n_rows=150)])
        assert wording.describe_matched_lengths(matched, by_size) == said.format(*words)
    assert wording.describe_matched_lengths(pd.DataFrame(columns=["n_rows"]), plain) == ""


def test_a_wide_table_marks_what_holds_after_the_correction():
    gains = make_corrected_gains(qa_qa=(0.1, 0.3, 0.001), qa_gen=(0.1, 0.3, 0.2))
    wide = wording.tabulate_gains(gains, "trained_on", "tuned on")
    assert wide.to_dict("records") == [
        {
            "tuned on": "QA",
            "on question answering": "+0.20 [0.10, 0.30]*",
            "on generation": "+0.20 [0.10, 0.30]",
        }
    ]


def test_a_number_that_rounds_to_zero_has_no_sign():
    gains = make_corrected_gains(ie_gen=(-0.004, 0.001, 0.9), gen_gen=(-0.5, -0.1, 0.9))
    wide = wording.tabulate_gains(gains, "trained_on", "tuned on")
    assert wide["on generation"].tolist() == ["0.00 [0.00, 0.00]", "−0.30 [−0.50, −0.10]"]


def test_the_papers_generation_gain_of_tuning_is_given_by_its_automatic_measures():
    table = source_comparison.stack_sources({source_comparison.PAPER: source_comparison._paper_tuning()})
    generated = table[table["tested_on"] == "gen"].set_index("measure")["estimate"]
    assert generated.round(3).to_dict() == {"concept F1": 0.081, "BLEURT": 0.039, "BERTScore": 0.024}
    assert set(table["scale"]) == {"accuracy", "F1 or exact match", source_comparison.AUTOMATIC}
    assert len(source_comparison.list_paper_gains(table, ["tested_on"])) == 3
