"""Variance, critical values and p, against scipy and statsmodels."""

import warnings

import numpy as np
import pandas as pd
import pytest
from known_scores import make_seeds
from scipy.stats import bootstrap, norm, permutation_test, t, ttest_1samp
from statsmodels.formula.api import ols
from statsmodels.regression.mixed_linear_model import MixedLM
from statsmodels.stats.anova import anova_lm

from helpers.analysis.contrasts import contrast, stack_scores
from helpers.analysis.intervals import (
    bootstrap_items,
    compute_p,
    critical_value,
    crossed_variance,
    sign_flip_p,
    t_interval,
    t_test_p,
    write_interval,
    write_number,
)


def take_sample(items, cell="qa", task="exam_choice"):
    """Return the scores of a cell on a task: shape (seeds, items)."""
    return stack_scores(items[items["task"] == task], [cell])[task][0]


def test_the_pooled_variance_is_that_of_the_two_way_analysis_of_variance():
    """Against statsmodels: (mean square of seeds + mean square of items - mean square of the remainder) /
    number of scores.
    """
    items = make_seeds(cells=("qa",))
    items = items[items["task"] == "exam_choice"]
    squares = anova_lm(ols("score ~ C(seed) + C(item)", items).fit())["mean_sq"]
    expected = (squares["C(seed)"] + squares["C(item)"] - squares["Residual"]) / len(items)
    variance, _ = crossed_variance([take_sample(items)])
    assert variance == pytest.approx(expected)


def test_the_pooled_variance_is_that_of_a_mixed_model_with_crossed_seeds_and_items():
    """Against statsmodels' maximum of the restricted likelihood, which is the analysis of variance where all
    seeds answer all items and no part is negative.
    """
    items = make_seeds(n_seeds=4, n=10)
    items = items[(items["task"] == "exam_choice") & (items["cell"] == "qa")]
    crossed = {"seed": "0 + C(seed)", "item": "0 + C(item)"}
    model = MixedLM.from_formula("score ~ 1", items, groups=np.ones(len(items)), vc_formula=crossed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one group, which a crossed model must have
        fitted = model.fit()
    variance, _ = crossed_variance([take_sample(items)])
    assert fitted.bse["Intercept"] ** 2 == pytest.approx(float(variance), rel=1e-3)


def test_separate_estimates_are_those_of_one_at_a_time():
    samples = np.random.default_rng(5).normal(size=(6, 2, 3, 20))
    variance, components = crossed_variance([samples[:, 0], samples[:, 1]])
    p = t_test_p(samples.mean(axis=(1, 2, 3)), variance, components)
    for number, sample in enumerate(samples):
        alone, _ = crossed_variance(list(sample))
        assert alone == pytest.approx(variance[number])
        assert compute_p(list(sample)) == pytest.approx(p[number])


def test_the_critical_value_lies_between_those_of_seeds_and_items_by_their_share():
    components = [(0.3, 2), (0.7, 40.0)]
    expected = 0.3 * t.isf(0.025, 2) + 0.7 * t.isf(0.025, 40)
    assert critical_value(0.025, components) == pytest.approx(expected)


def test_p_is_the_level_at_which_the_interval_ends_at_zero():
    for components in (
        [(0.0, 2), (0.4, 40.0)],
        [(0.3, 2), (0.1, 40.0)],
        [(0.4, 2), (0.0, 40.0)],
        [(0.4, 40.0)],
    ):
        for estimate in (0.05, 1.0, 4.0, 20.0):
            p = float(t_test_p(estimate, 0.4, components))
            assert critical_value(p / 2, components) == pytest.approx(estimate / 0.4**0.5)
        low, high = t_interval(2.0, 0.4, components, 1 - float(t_test_p(2.0, 0.4, components)))
        assert (low, high) == pytest.approx((0, 4))


def test_seeds_that_agree_by_luck_do_not_raise_the_degrees_of_freedom_without_bound():
    """Satterthwaite's degrees of freedom for these components are 190; the seeds' own are 2."""
    components = [(0.1, 2), (0.9, 500.0)]
    assert t_test_p(2.9, 1.0, components) > 3 * 2 * t.sf(2.9, 190)


def test_few_units_are_tested_by_flips_of_their_signs_whether_they_agree_or_nearly_do():
    alike, nearly = np.full((1, 3), 1.0), np.array([[1.0, 1.0, 0.9]])
    assert compute_p([alike]) == compute_p([nearly]) == 0.25
    assert compute_p([np.zeros((1, 3))]) == 1
    sample = np.random.default_rng(2).normal(0.4, 1, 8)
    flips = permutation_test((sample,), np.mean, permutation_type="samples")
    assert compute_p([sample[None]]) == pytest.approx(flips.pvalue)
    items = pd.DataFrame(
        {
            "cell": ["base"] * 3 + ["qa"] * 3,
            "task": "t",
            "item": [0, 1, 2] * 2,
            "score": [0.0] * 3 + [1.0] * 3,
        }
    )
    assert contrast(items, {"qa": 1, "base": -1})["p"] == 0.25


def test_flips_weigh_tasks_the_same():
    tasks = [np.array([0.3, 0.5]), np.array([0.1, -0.2, 0.4])]
    weighed = np.concatenate([task / len(task) for task in tasks])
    flips = permutation_test((weighed,), np.sum, permutation_type="samples")
    assert sign_flip_p(tasks) == pytest.approx(flips.pvalue)


def test_many_units_are_tested_by_t_and_never_beyond_what_flips_could_show():
    sample = np.random.default_rng(2).normal(0.2, 1, 12)
    assert compute_p([sample[None]]) == pytest.approx(ttest_1samp(sample, 0).pvalue)
    assert compute_p([np.full((1, 12), 0.3)]) == compute_p([0.3 + 1e-6 * sample[None]]) == 2.0**-11


def test_few_units_under_several_seeds_answer_to_both_tests():
    seeds = np.array([-1.0, 0.0, 4.0])[:, None] + np.array([0.0, 0.1, 0.2, 0.3])
    assert compute_p([seeds]) > 0.4  # three seeds that differ, though all four items agree
    assert compute_p([np.ones((3, 4))]) == 2.0**-3


def test_percentiles_of_few_items_reach_as_far_as_students_t():
    """Against scipy's bootstrap at the raised level."""
    sample = np.random.default_rng(4).normal(size=12)
    level = 1 - 2 * norm.sf((12 / 11) ** 0.5 * t.isf(0.025, 11))
    plain = bootstrap(
        (sample,), np.mean, n_resamples=2000, confidence_level=level, method="percentile", rng=7
    ).confidence_interval
    low, high = bootstrap_items([sample[None]])
    assert (low, high) == pytest.approx((plain.low, plain.high), abs=0.03)
    assert high - low == pytest.approx(2 * t.isf(0.025, 11) * sample.std(ddof=1) / 12**0.5, rel=0.1)


def test_items_that_all_agree_have_an_interval_without_width():
    assert bootstrap_items([np.full((1, 12), 0.3)]) == pytest.approx((0.3, 0.3))


def test_numbers_have_a_true_minus_and_zero_has_no_sign():
    values = (0.126, -0.126, -0.001, 0.001, 0.0)
    assert [write_number(value, "+") for value in values] == ["+0.13", "−0.13", "0.00", "0.00", "0.00"]
    assert [write_number(value) for value in values] == ["0.13", "−0.13", "0.00", "0.00", "0.00"]
    assert write_interval(np.float32(0.1264), -0.0004, 0.25, "+", 3) == "+0.126 [0.000, 0.250]"
