"""From observed states to behavior.csv and its tests: drift, pooling, intervals, p."""

import math

import numpy as np
import pandas as pd
import pytest

from modeledit.evaluation.behavior import (
    Asked,
    Observed,
    holm,
    paired_tests,
    pooled,
    read_values,
    values_before,
    values_of,
)
from modeledit.evaluation.behavior_metrics import BEHAVIOR_METRICS
from modeledit.evaluation.drift import POOLED, TEXT_VALUES
from modeledit.evaluation.generation import Objects, Prompt
from modeledit.evaluation.resampling import Resampling
from modeledit.evaluation.schemas import BEHAVIOR, BEHAVIOR_TESTS, BEHAVIOR_VALUES
from tests.made_up_behavior import drift, said, values

DRAWN = Resampling(seed=5, resamples=400)
SAID = "said_new_edit"


def row(frame: pd.DataFrame, **where: object) -> dict:
    """The one row of these values."""
    chosen = frame[(frame[list(where)] == pd.Series(where)).all(axis=1)]
    assert len(chosen) == 1, where
    return chosen.iloc[0].to_dict()


# ---- A state's values


def test_what_was_observed_of_a_state_becomes_values_and_no_more():
    asked = Asked({Prompt(1, "edit", "X is in"): Objects(("Rome",))})
    seen = Observed(generations=said([(1, "edit", 0, "X is in", " Rome")]))
    found = values_of(seen, asked, 3, "stop")
    assert list(found.columns) == list(BEHAVIOR_VALUES.names)
    assert dict(zip(found["metric"], found["value"], strict=True)) == {
        SAID: 1.0,
        "mentioned_new_edit": 1.0,
    }
    assert set(found["k"]) == {3} and set(found["state"]) == {"stop"}
    nothing = values_of(Observed(), asked, 1, "first")
    assert nothing.empty and list(nothing.columns) == list(BEHAVIOR_VALUES.names)


def test_drift_has_values_of_both_models():
    frame = drift([(0, 3, 0.5, 2.0, 1.0), (1, 1, math.nan, math.nan, 1.5)])
    after = values_of(Observed(drift=frame), Asked({}), 1, "first")
    assert after["value"].tolist() == [3, 1, 0.5, math.inf, 2.0, math.inf]  # a collapse is infinite
    before = values_before(frame)
    assert before["metric"].tolist() == [name for name in TEXT_VALUES for _ in range(2)]
    assert before["value"].tolist() == [3, 1, 0, 0, 1.0, 1.5]
    assert set(before["state"]) == {"unedited"} and set(before["k"]) == {0}
    assert values_before(None).empty


# ---- Pooling


def test_requests_of_all_trials_are_pooled_beside_the_unedited_model():
    frames = [
        values(
            "MEMIT",
            {
                "unedited": (0, {SAID: [0, 0]}),
                "first": (1, {SAID: [1, 0]}),
                "stop": (k, {SAID: [1, 1]}),
            },
            trial,
        )
        for trial, k in ((1, 2), (2, 5))
    ]
    more = values("MEMIT", {"stop": (4, {SAID: [0]})}, 3)
    found = pooled(pd.concat([*frames, more]), DRAWN)
    assert list(found.columns) == list(BEHAVIOR.names)
    first, stop = row(found, state="first"), row(found, state="stop")
    assert (first["k"], first["n"], first["value"], first["unedited"]) == (1, 4, 0.5, 0)
    assert 0 <= first["low"] < 0.5 < first["high"] <= 1
    assert (stop["n"], stop["value"]) == (5, 0.8)  # (2 + 2 + 0) / 5
    assert stop["k"] == pytest.approx(11 / 3)
    before = row(found, state="unedited")
    assert (before["k"], before["value"], before["low"], before["high"]) == (0, 0, 0, 0)


def test_a_request_without_a_value_has_no_say():
    one = values("MEMIT", {"stop": (1, {SAID: [1, 0], "kept_neighbor": [1]})})
    found = pooled(one, DRAWN)
    kept = row(found, metric="kept_neighbor")
    assert (kept["n"], kept["value"], kept["low"], kept["high"]) == (1, 1, 1, 1)
    assert math.isnan(kept["unedited"])


def texts(kl, nll, tokens=(1, 3)):
    return dict(zip(TEXT_VALUES, (tokens, kl, nll), strict=True))


def test_drift_is_a_mean_over_positions_of_texts_that_trials_share():
    two, four = math.log(2), math.log(4)
    frames = [
        values(
            "MEMIT",
            {
                "unedited": (0, texts([0, 0], [0, 0])),
                "first": (1, texts([kl, 0.0], [two, four])),
            },
            trial,
        )
        for trial, kl in ((1, 0.2), (2, 0.6))
    ]
    found = pooled(pd.concat(frames), DRAWN)
    kl, ppl = (row(found, state="first", metric=metric) for metric in POOLED)
    # Text 0 has (0.2 + 0.6) / 2 over its one position, text 1 has 0 over three: 0.4 / 4.
    assert kl["value"] == pytest.approx(0.1) and kl["n"] == 2
    # exp((ln 2 + 3 ln 4) / 4) = 2 ** (7 / 4)
    assert ppl["value"] == pytest.approx(2**1.75) and ppl["unedited"] == 1
    assert (kl["low"], kl["high"]) == pytest.approx((0, 0.4))  # one text alone
    assert (ppl["low"], ppl["high"]) == pytest.approx((2, 4))


def test_a_collapse_is_infinite_has_no_interval_and_no_test():
    states = {
        "first": (1, texts([0.1, 0.1], [1, 1])),
        "stop": (2, texts([0.1, 0.2], [1, math.inf])),
    }
    found = values("MEMIT", states)
    ppl = row(pooled(found, DRAWN), state="stop", metric="drift_ppl")
    assert math.isinf(ppl["value"]) and math.isnan(ppl["low"]) and math.isnan(ppl["high"])
    kl = row(pooled(found, DRAWN), state="stop", metric="drift_kl")
    assert kl["value"] == pytest.approx((0.1 + 3 * 0.2) / 4) and kl["low"] < kl["high"]
    assert paired_tests(found, DRAWN)["metric"].tolist() == ["drift_kl"]


# ---- Tests


def test_iterating_sets_the_stop_against_the_first_iteration():
    states = {
        "first": (1, {SAID: [0, 0, 0, 0], "kept_neighbor": [1, 1, 1, 1]}),
        "stop": (3, {SAID: [1, 1, 1, 0], "kept_neighbor": [1, 1, 1, 1]}),
    }
    found = paired_tests(values("MEMIT", states), DRAWN)
    assert list(found.columns) == list(BEHAVIOR_TESTS.names)
    said_row, kept = row(found, metric=SAID), row(found, metric="kept_neighbor")
    assert (said_row["comparison"], said_row["a"], said_row["b"]) == ("iterating", "MEMIT", "MEMIT")
    assert (said_row["n"], said_row["difference"]) == (4, 0.75)
    # Three pairs differ: of 8 exchanges two are as far from 0, all one way or all the other.
    assert said_row["p"] == 0.25
    assert (kept["difference"], kept["low"], kept["high"], kept["p"]) == (0, 0, 0, 1)
    assert (said_row["p_corrected"], kept["p_corrected"]) == (0.5, 1)  # 2 * 0.25
    assert said_row["low"] <= 0.75 <= said_row["high"]


def test_neighbors_are_set_against_the_plain_method_at_the_stop():
    plain = {"first": (1, {SAID: [0, 0]}), "stop": (2, {SAID: [1, 0]})}
    assisted = {"first": (1, {SAID: [0, 0]}), "stop": (2, {SAID: [1, 1, 1]})}
    alone = {"stop": (2, {SAID: [1, 1]})}
    found = paired_tests(
        pd.concat(
            [
                values("NA_MEMIT", assisted),
                values("MEMIT", plain),
                values("SPREAD_MEMIT", alone),
                values("NA_PMET", alone),
            ]
        ),
        DRAWN,
    )
    pairs = found[["comparison", "a", "b"]].itertuples(index=False, name=None)
    assert sorted(pairs) == [
        ("iterating", "MEMIT", "MEMIT"),
        ("iterating", "NA_MEMIT", "NA_MEMIT"),
        ("neighbor", "NA_MEMIT", "MEMIT"),
    ]
    neighbor = row(found, comparison="neighbor")
    assert (neighbor["n"], neighbor["difference"], neighbor["p"]) == (2, 0.5, 1)


def test_the_difference_of_perplexities_is_that_of_what_is_printed():
    states = {
        "first": (1, texts([0, 0], [math.log(2)] * 2)),
        "stop": (2, texts([0.5, 0.1], [math.log(8)] * 2)),
    }
    found = paired_tests(values("MEMIT", states), DRAWN)
    assert row(found, metric="drift_ppl")["difference"] == pytest.approx(6)
    assert row(found, metric="drift_kl")["difference"] == pytest.approx(0.2)  # (0.5 + 3 * 0.1) / 4
    assert row(found, metric="drift_kl")["p"] == 0.5  # two pairs, both up: 2 of 4 exchanges


def test_what_is_drawn_does_not_depend_on_the_order_of_rows():
    states = {state: (k, {SAID: [0, 1, 0, 1, 1]}) for state, k in (("first", 1), ("stop", 2))}
    frame = values("MEMIT", states)
    again = frame.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(pooled(frame, DRAWN), pooled(again, DRAWN))


def test_holm_steps_down():
    # 3 * 0.01; 2 * 0.03; 1 * 0.04, which is less than the step before
    assert holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.7, 0.9]).tolist() == [1, 1]
    assert len(holm([])) == 0


# ---- Files


def test_values_are_read_with_the_run_that_their_folder_names(tmp_path):
    path = tmp_path / "places" / "tiny" / "MEMIT" / "trial2" / "behavior.parquet"
    path.parent.mkdir(parents=True)
    frame = values("MEMIT", {"first": (1, {SAID: [1, 0]})}, trial=2)
    BEHAVIOR_VALUES.write(path, frame[list(BEHAVIOR_VALUES.names)])
    found = read_values([path])
    assert found["trial"].tolist() == [2, 2] and found["value"].tolist() == [1, 0]
    with pytest.raises(ValueError, match="places/tiny/MEMIT/trial2 occurs twice"):
        read_values([path, path])
    assert pooled(read_values([]), DRAWN).empty and paired_tests(read_values([]), DRAWN).empty


def test_every_metric_says_what_it_is():
    assert set(POOLED) <= set(BEHAVIOR_METRICS)
    headings = [metric.heading for metric in BEHAVIOR_METRICS.values()]
    assert len(headings) == len(set(headings))
    assert all(metric.source for metric in BEHAVIOR_METRICS.values())
    assert not np.isin(TEXT_VALUES[::2], list(BEHAVIOR_METRICS)).any()


def test_only_main_metrics_are_tested():
    states = {"first": (1, {SAID: [0], "forced_edit": [0]})}
    states["stop"] = (2, {SAID: [1], "forced_edit": [1]})
    frame = values("MEMIT", states)
    assert set(pooled(frame, DRAWN)["metric"]) == {SAID, "forced_edit"}
    assert paired_tests(frame, DRAWN)["metric"].tolist() == [SAID]
