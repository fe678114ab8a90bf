"""The three stopping criteria against the published columns (SPEC C.5), and the budget."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeledit.study import stopping

NAN, INF = math.nan, math.inf

# (|dp_k| for k = 1, 2, ...; green pick; orange pick), read from the published tables. A trailing
# None is the last iteration, which the paper could not measure.
PUBLISHED_DP = {
    "GPT-2 XL MEMIT CF": ([11359.60, 77.12, 9.11, 0.47, None], 4, None),
    "GPT-2 XL PMET CF": (
        [103785.71, 25519.43, 5025.56, 2029.80, 224.53, 48.96, 21.02, 10.75, 1.71, 0.42],
        10,
        None,
    ),
    "GPT-2 XL MEMIT zsRE": ([2034.31, 39.39, 0.03, 0.01, None], 3, None),
    "GPT-J MEMIT CF": ([1.22, 0.03, 1.86, 0.03, None], 2, 2),
    "GPT-J PMET CF": ([1.15, 4.23, 0.05, 0.02, None], 3, 1),
    "GPT-J PMET zsRE": ([4.10, 0.09, 0.02, 0.00, None], 2, None),
    "Llama-2 PMET CF": ([3.32, 0.09, 0.16, 0.00, None], 2, 2),
    "GPT-J PMET #960": ([0.25, 218.64, 1.19, 0.01, None], 1, 1),
    "Llama-2 MEMIT CF": ([198.79, 4664.24, 875.80, 1379.7, None], None, 1),
    "GPT-2 XL ROME CF": ([7.15e5, 1.69e6, 2.89e6, -1.91e6, None], None, 1),
}
PUBLISHED_P_HAT = {
    "GPT-2 XL MEMIT CF": ([11360.64, 78.15, 10.14, 1.49, None], None),
    "GPT-2 XL MEMIT zsRE": ([2035.34, 40.41, 1.05, 1.03, None], 4),
    "GPT-2 XL PMET CF": (
        [116384.51, 26852.75, 5123.07, 2045.77, 228.44, 50.77, 22.44, 12.10, 3.03, 1.73],
        None,
    ),
    "GPT-2 XL PMET zsRE": (
        [116427.63, 3109.90, 491.43, 50.04, 2.70, 1.41, 1.30, 1.25, 1.22, 1.21],
        7,
    ),
    "GPT-J MEMIT CF": ([2.25, 1.05, 2.88, 1.04, None], None),
    "GPT-J PMET CF": ([2.24, 5.29, 1.11, 1.08, None], 4),
    "Llama-2 PMET zsRE": ([7.40, 1.12, 1.07, 1.06, None], 3),
}


@pytest.mark.parametrize("run", PUBLISHED_DP)
def test_published_runs_stop_where_the_paper_stops(run):
    dp, green, orange = PUBLISHED_DP[run]
    assert stopping.proposed(dp) == green
    assert stopping.monotonic(dp) == orange


@pytest.mark.parametrize("run", PUBLISHED_P_HAT)
def test_published_small_change(run):
    p_hat, purple = PUBLISHED_P_HAT[run]
    changes = [abs(b - a) for a, b in pairwise(p_hat) if b is not None]
    assert stopping.small_change([None, *changes]) == purple


def test_a_tie_is_no_decrease():
    assert stopping.monotonic([4.0, 2.0, 2.0]) == 2


def test_boundary_counts_as_met():
    assert stopping.proposed([1.5, 1.0]) == 2
    assert stopping.small_change([NAN, 1.0]) == 2


def test_small_change_never_picks_the_first_iteration():
    assert stopping.small_change([0.0]) is None
    assert stopping.small_change([0.0, 0.0]) == 2


@pytest.mark.parametrize("bad", [NAN, INF, None])
def test_a_collapsed_or_missing_value_never_converges(bad):
    assert stopping.proposed([bad, bad]) is None
    assert stopping.small_change([bad, bad, bad]) is None
    assert stopping.should_continue(5, [bad] * 5)


def test_monotonic_reads_infinite_as_increase_and_missing_as_unknown():
    assert stopping.monotonic([5.0, 3.0, INF]) == 2
    assert stopping.monotonic([5.0, 3.0, NAN]) is None
    assert stopping.monotonic([INF, INF, 3.0]) is None


value = st.one_of(st.floats(0, 1e9), st.just(NAN), st.just(INF), st.none())


@given(st.lists(value, max_size=12), st.floats(0, 100))
def test_proposed_is_the_first_that_meets_epsilon(dp, epsilon):
    k = stopping.proposed(dp, epsilon)
    met = [v is not None and v <= epsilon for v in dp]
    assert k == (met.index(True) + 1 if True in met else None)


@given(st.lists(value, max_size=12), st.floats(0, 100), st.floats(0, 100))
def test_a_larger_epsilon_never_stops_later(dp, a, b):
    strict, loose = stopping.proposed(dp, min(a, b)), stopping.proposed(dp, max(a, b))
    assert strict is None or (loose is not None and loose <= strict)


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=12))
def test_monotonic_pick_ends_a_decreasing_stretch(dp):
    k = stopping.monotonic(dp)
    stretch = dp[: k or len(dp)]
    assert all(b < a for a, b in zip(stretch, stretch[1:], strict=False))
    assert k is None or dp[k] >= dp[k - 1]


def test_early_mode_stops_at_the_rule_or_the_extended_budget():
    early = {"mode": "early", "base": 2, "extended": 4}
    assert stopping.should_continue(0, [], **early)
    assert stopping.should_continue(1, [3.0], **early)
    assert not stopping.should_continue(1, [0.5], **early)
    assert stopping.should_continue(3, [3.0] * 3, **early)
    assert not stopping.should_continue(4, [3.0] * 4, **early)


def test_full_mode_shows_the_trend_and_extends_only_while_unmet():
    full = {"mode": "full", "base": 3, "extended": 5}
    assert stopping.should_continue(1, [0.5], **full)
    assert not stopping.should_continue(3, [3.0, 0.5, 3.0], **full)
    assert stopping.should_continue(3, [3.0, 2.0, 1.5], **full)
    assert not stopping.should_continue(4, [3.0, 2.0, 1.5, 0.9], **full)
    assert not stopping.should_continue(5, [3.0] * 5, **full)


@given(
    st.lists(value, min_size=10, max_size=10),
    st.sampled_from(["early", "full"]),
    st.integers(1, 5),
    st.integers(5, 10),
)
def test_a_run_always_ends_within_its_budget(dp, mode, base, extended):
    k = 0
    while stopping.should_continue(k, dp, mode, 1.0, base, extended):
        k += 1
    assert (1 if mode == "early" else base) <= k <= stopping.budget(base, extended)
    if k < extended:
        assert stopping.proposed(dp[:k]) is not None


@pytest.mark.parametrize(
    "arguments",
    [
        {"mode": "slow"},
        {"base": 6, "extended": 5},
        {"base": 0},
        {"k": 3},
        {"k": -1},
    ],
)
def test_bad_arguments_are_named(arguments):
    with pytest.raises(ValueError, match="stop.mode|budget|values"):
        stopping.should_continue(**({"k": 1, "dp": [2.0]} | arguments))
