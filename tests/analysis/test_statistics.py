"""Means, Student's t intervals and common points, by hand."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from dop.analysis.statistics import (
    Axis,
    Curve,
    Estimate,
    align,
    curves,
    interquartile_mean,
    mean_interval,
    mean_score,
    median_score,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
    seeds_interval,
    trailing_mean,
)
from dop.storage.records import Record


def test_the_interval_is_students_by_hand():
    # Values 1, 2, 3, 6: mean 3, sum of squares 4 + 1 + 0 + 9 = 14, s = sqrt(14 / 3), t_{3, 0.975} = 3.18245 (any table).
    # Half width: 3.18245 * sqrt(14 / 3 / 4) = 3.43744.
    interval = mean_interval(np.array([1.0, 2.0, 3.0, 6.0]))
    assert interval == pytest.approx((3.0, 3.0 - 3.43744, 3.0 + 3.43744), abs=1e-4)


def test_two_seeds_by_hand():
    # Values 0 and 2, then 5 and 5: s = sqrt(2), t_{1, 0.975} = 12.7062, half width 12.7062 * sqrt(2 / 2); and no spread at all.
    interval = mean_interval(np.array([[0.0, 5.0], [2.0, 5.0]]))
    np.testing.assert_allclose(interval.mean, [1.0, 5.0])
    np.testing.assert_allclose(interval.high, [1.0 + 12.7062, 5.0], atol=1e-4)
    np.testing.assert_allclose(interval.low, [1.0 - 12.7062, 5.0], atol=1e-4)


def test_one_seed_has_no_interval():
    interval = mean_interval(np.array([[1.0, 2.0]]))
    np.testing.assert_array_equal(interval.mean, [1.0, 2.0])
    assert np.isnan(interval.low).all()
    assert np.isnan(interval.high).all()


def test_missing_seeds_are_left_out_point_by_point():
    nan = np.nan
    whole = mean_interval(np.array([[1.0], [2.0], [6.0]]))
    holes = mean_interval(np.array([[1.0, 4.0, nan], [nan, nan, nan], [2.0, nan, nan], [6.0, nan, nan]]))
    np.testing.assert_allclose([v[0] for v in holes], [v[0] for v in whole])
    assert holes.mean[1] == 4.0
    assert np.isnan([holes.low[1], holes.high[1], *(v[2] for v in holes)]).all()


def test_the_interval_covers_the_true_mean_95_times_in_100():
    samples = np.random.default_rng(0).normal(3.0, 2.0, size=(5, 20_000))
    interval = mean_interval(samples)
    assert np.mean((interval.low < 3.0) & (interval.high > 3.0)) == pytest.approx(0.95, abs=0.005)


def curve(*points: tuple[float, float]) -> Curve:
    return Curve(*np.array(points, dtype=float).T)


def test_equal_points_stay_as_they_are():
    common = align([curve((0, 1), (10, 2)), curve((0, 3), (10, 4))])
    np.testing.assert_array_equal(common.x, [0, 10])
    np.testing.assert_array_equal(common.y, [[1, 2], [3, 4]])


def test_a_common_point_waits_for_the_last_seed_and_holds_the_others():
    # The k-th evaluations are at 1, 2 and at 11, 9: everything is in at 2 and at 11.
    common = align([curve((1, 10), (11, 20)), curve((2, 30), (9, 40))])
    np.testing.assert_array_equal(common.x, [2, 11])
    np.testing.assert_array_equal(common.y, [[10, 20], [30, 40]])


def test_a_seed_that_is_evaluated_more_often_gives_its_latest_value_and_nothing_from_the_future():
    often = curve((10, 1), (20, 2), (30, 3), (40, 4), (50, 5))
    seldom = curve((20, 10), (45, 20))
    common = align([often, seldom])
    np.testing.assert_array_equal(common.x, [20, 45])
    np.testing.assert_array_equal(common.y, [[2, 4], [10, 20]])


def test_one_seed_or_none():
    common = align([curve((1, 10), (11, 20))])
    np.testing.assert_array_equal(common.x, [1, 11])
    np.testing.assert_array_equal(common.y, [[10, 20]])
    assert align([]).y.shape == (0, 0)


def test_curves_are_by_seed_over_either_axis_and_skip_what_lacks_the_metric():
    def record(seed: int, env_steps: int, **metrics: float) -> Record:
        return Record(kind="train", seed=seed, iteration=1, env_steps=env_steps, wall_seconds=env_steps / 10, metrics=metrics)

    records = [record(5, 20, a=2.0), record(1, 10, a=3.0), record(5, 10, a=1.0), record(5, 30, b=1.0)]
    found = curves(records, "a")
    assert list(found) == [1, 5]
    np.testing.assert_array_equal(found[5], [[10, 20], [1, 2]])
    np.testing.assert_array_equal(curves(records, "a", "wall_seconds")[5].x, [1, 2])
    timed = [replace(record, processor_seconds=record.env_steps / 5) for record in records[1:]]
    np.testing.assert_array_equal(curves([records[0], *timed], "a", "processor_seconds")[5].x, [2])
    assert curves(records, "c") == {}


# ---------------------------------------------------------------------------------------------------------- shown intervals


def test_an_interval_is_cut_to_what_is_possible():
    # Values 0, 1, 1: mean 2/3, s = sqrt(1 / 3), t_{2, 0.975} = 4.30265, half width 4.30265 / 3 = 1.43422.
    values = np.array([0.0, 1.0, 1.0])
    assert seeds_interval(values) == pytest.approx((2 / 3, 2 / 3 - 1.43422, 2 / 3 + 1.43422), abs=1e-4)
    assert seeds_interval(values, (0.0, 1.0)) == pytest.approx((2 / 3, 0.0, 1.0))
    inside = np.array([0.5, 0.51, 0.52])
    assert seeds_interval(inside, (0.0, 1.0)) == mean_interval(inside)


def test_fewer_than_three_seeds_have_no_interval_point_by_point():
    nan = np.nan
    found = seeds_interval(np.array([[1.0, 1.0, nan], [2.0, 2.0, nan], [3.0, nan, nan]]))
    np.testing.assert_array_equal(found.mean, [2.0, 1.5, nan])
    np.testing.assert_array_equal(np.isnan(found.low), [False, True, True])
    np.testing.assert_array_equal(np.isnan(found.high), [False, True, True])


def test_the_trailing_mean_of_a_known_series():
    steps, values = np.array([0.0, 10, 20, 30, 40]), np.array([1.0, 3, 5, 7, 9])
    np.testing.assert_array_equal(trailing_mean(steps, values, 20), [1, 2, 4, 6, 8])  # (s - 20, s]: two points, one at the start
    np.testing.assert_array_equal(trailing_mean(steps, values, 21), [1, 2, 3, 5, 7])
    np.testing.assert_array_equal(trailing_mean(steps, values, 10), values)
    np.testing.assert_array_equal(trailing_mean(steps, values, 10**9), [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(values, [1, 3, 5, 7, 9])  # not altered


def test_the_trailing_mean_leaves_out_what_is_not_finite_and_keeps_its_place():
    nan = np.nan
    found = trailing_mean(np.array([0.0, 10, 20, 30]), np.array([1.0, nan, 5, nan]), 30)
    np.testing.assert_array_equal(found, [1, nan, 3, nan])


def test_a_trailing_mean_has_nothing_of_the_future():
    rng = np.random.default_rng(0)
    steps, values = np.cumsum(rng.uniform(1, 9, 30)), rng.normal(size=30)
    for length in (1, 7, 30):
        np.testing.assert_array_equal(trailing_mean(steps, values, 12)[:length], trailing_mean(steps[:length], values[:length], 12))


@pytest.mark.parametrize(("axis", "x"), [("env_steps", [10, 20, 30]), ("wall_seconds", [1, 2, 3])])
def test_curves_are_smoothed_over_environment_steps_on_either_axis(axis: Axis, x: list[int]):
    records = [Record(kind="evaluation", seed=0, iteration=i, env_steps=10 * i, wall_seconds=i, metrics={"a": float(i)}) for i in (1, 2, 3)]
    np.testing.assert_array_equal(curves(records, "a", axis, smooth=20)[0], [x, [1, 1.5, 2.5]])
    np.testing.assert_array_equal(curves(records, "a", axis)[0].y, [1, 2, 3])


# ------------------------------------------------------------------------------------------------------------ several tasks

TASKS = [np.array([0.0, 0.4, 0.8]), np.array([1.0, 1.0, 1.6]), np.array([0.1, 0.2, 0.3])]


def test_mean_median_and_optimality_gap_by_hand():
    # Means over seeds: 0.4, 1.2, 0.2. Short of 1: (1 + 0.6 + 0.2) / 3 = 0.6, then 0, then (0.9 + 0.8 + 0.7) / 3 = 0.8.
    assert mean_score(TASKS).value == pytest.approx(1.8 / 3)
    assert median_score(TASKS).value == pytest.approx(0.4)
    assert optimality_gap(TASKS).value == pytest.approx(1.4 / 3)
    for found in (mean_score(TASKS), median_score(TASKS), optimality_gap(TASKS)):
        assert found.low < found.value < found.high


def test_the_optimality_gap_is_that_of_rliable():
    scores = np.stack(TASKS, axis=1)  # theirs: run, task; gamma - mean(min(score, gamma))
    assert optimality_gap(TASKS).value == pytest.approx(1 - np.mean(np.minimum(scores, 1)))
    assert optimality_gap(TASKS, 0.5).value == pytest.approx(0.5 - np.mean(np.minimum(scores, 0.5)))
    assert optimality_gap([np.full(3, 1.5)]) == (0.0, 0.0, 0.0)


def test_tasks_with_more_seeds_do_not_count_more():
    unequal = [np.zeros(9), np.ones(3)]
    assert mean_score(unequal).value == median_score(unequal).value == optimality_gap(unequal).value == 0.5


@pytest.mark.parametrize("statistic", [interquartile_mean, mean_score, median_score, optimality_gap])
def test_statistics_have_intervals_from_three_seeds_a_task_on(statistic: Callable[..., Estimate]):
    assert np.isnan(statistic([np.array([0.1, 0.9])]).low)
    assert np.isnan(statistic([*TASKS, np.array([0.1, 0.9])]).high)
    assert not np.isnan(statistic(TASKS)).any()


def test_the_interquartile_mean_by_hand():
    # Of 0 .. 7, a quarter goes at each end: 2, 3, 4, 5 remain. Which task a score is of does not matter to the mean.
    found = interquartile_mean([np.array([0.0, 7.0, 2.0, 5.0]), np.array([1.0, 6.0, 3.0, 4.0])])
    assert found.value == 3.5
    assert found.low < 3.5 < found.high


def test_the_bootstrap_is_stratified_by_task():
    """Two tasks without any spread of their own: drawing from both together would spread, drawing within each does not."""
    assert interquartile_mean([np.zeros(4), np.ones(4)]) == (0.5, 0.5, 0.5)


def test_the_probability_of_improvement_by_hand():
    # Task 1: of (1, 3) against (2, 2), half of the pairs win. Task 2: a tie and a win of 1 x 2 pairs.
    found = probability_of_improvement([np.array([1.0, 3.0]), np.array([5.0])], [np.array([2.0, 2.0]), np.array([5.0, 4.0])])
    assert found.value == pytest.approx((0.5 + 0.75) / 2)
    assert np.isnan(found.low)  # one task has one seed


def test_the_profile_falls_from_one_to_zero():
    found = performance_profile([np.array([0.2, 0.6, 0.6]), np.array([0.4, 0.4, 0.8])], np.array([0.0, 0.3, 0.5, 0.9]))
    np.testing.assert_allclose(found.mean, [1.0, 5 / 6, 0.5, 0.0])
    assert (found.low <= found.mean).all()
    assert (found.mean <= found.high).all()


def test_the_bootstrap_covers_the_true_mean_about_as_often_as_it_says():
    """10 seeds; a percentile bootstrap is known to be a little too narrow with so few."""
    rng, inside = np.random.default_rng(1), 0
    for _ in range(80):
        found = interquartile_mean([rng.normal(1.0, 1.0, 10), rng.normal(1.0, 1.0, 10)])
        inside += found.low < 1.0 < found.high
    assert 0.85 < inside / 80 < 1
