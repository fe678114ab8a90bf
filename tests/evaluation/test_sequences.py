"""Sequences of batches: what is retained, forgotten and collapsed, by hand; intervals."""

import math

import numpy as np
import pandas as pd
import pytest

from modeledit.evaluation.metrics import Measured
from modeledit.evaluation.resampling import PAIRED, Resampling
from modeledit.evaluation.schemas import SEQUENCE_METRICS, SEQUENCE_VALUES
from modeledit.evaluation.sequence_intervals import SEQUENCE_INTERVALS, sequence_intervals
from modeledit.evaluation.sequences import (
    Batch,
    edited_in,
    last_batch,
    measured_sequence,
    over_trials,
    read_norms,
    read_sequences,
    request_values,
)
from modeledit.io.frames import write_csv
from modeledit.study.layout import Layout, SequenceKey
from modeledit.study.stopping import Rule
from tests.made_up_sequences import Study, norms, scores, state
from tests.presets import CORRECTED_SCORING, averaging

KEY = SequenceKey("geography", "tiny", "MEMIT", 1, 2)
IDS = [11, 12, 13, 14, 15, 16]  # three batches of two
MEMBERS = edited_in([*IDS, 17], 2, 3)
BEFORE = scores([*IDS, 17])
# after batch: (learned, neighbors broken, ME-PPL)
AFTER = {1: ([11, 12], [], 50.0), 2: ([12, 13, 14], [11], 60.0), 3: ([13, 15], [11, 12, 15], 2e3)}


def measured(learned, broken, me_ppl, n):
    found = scores(IDS[:n], learned, broken, me_ppl)
    return Measured.of(found, BEFORE, CORRECTED_SCORING)


def batches(**changed):
    return {
        b: Batch(measured(*of, 2 * b), state(k=b), norms(0.1 * b, 0.3 * b))
        for b, of in AFTER.items()
    } | changed


UNEDITED = Measured.of(BEFORE, None, CORRECTED_SCORING)


def rows(found=None):
    whole = measured_sequence(
        UNEDITED, found or batches(), MEMBERS, sequence=KEY, scoring=CORRECTED_SCORING
    )
    return whole.set_index(["batch", "group"])


def test_requests_are_edited_in_the_order_of_the_trial():
    assert MEMBERS == {11: 1, 12: 1, 13: 2, 14: 2, 15: 3, 16: 3}
    with pytest.raises(ValueError, match="7 requests, 4 batches of 2 need 8"):
        edited_in([*IDS, 17], 2, 4)


def test_retention_is_that_of_earlier_requests_alone():
    found = rows()
    assert list(found.index) == [
        (0, "all"),
        *((1, "own"), (1, "all")),
        *((b, group) for b in (2, 3) for group in ("own", "earlier", "all")),
    ]
    eff = found["eff_succ"].to_dict()
    assert eff[2, "own"] == 1.0 and eff[2, "earlier"] == 0.5 and eff[2, "all"] == 0.75
    assert eff[3, "own"] == 0.5 and eff[3, "earlier"] == 0.25
    assert eff[3, "all"] == pytest.approx(1 / 3)
    assert found["n_requests"].tolist() == [6, 2, 2, 2, 2, 4, 2, 4, 6]
    assert found["edits"].tolist() == [0, 2, 2, 4, 4, 4, 6, 6, 6]
    # a broken neighbor costs specificity where its own request is counted
    spec = found["spec_succ"].to_dict()
    assert (spec[2, "own"], spec[2, "earlier"], spec[2, "all"]) == (1.0, 0.5, 0.75)
    assert spec[3, "earlier"] == 0.5 and found.loc[(3, "own"), "spec_acc"] == 0.5
    # the score is the harmonic mean of the group's own three fractions
    assert found.loc[(2, "all"), "score_succ"] == pytest.approx(0.75)
    assert found.loc[(1, "all"), "score_acc"] == 1.0


def test_batch_0_is_the_unedited_model_on_the_requests_of_the_sequence():
    before = rows().loc[(0, "all")]
    assert (before["eff_succ"], before["spec_succ"], before["n_requests"]) == (0.0, 1.0, 6)
    assert before["me_ppl"] == pytest.approx(50.0) and before["iterations"] == 0
    assert math.isnan(before["score_acc"]) and math.isnan(before["dp"])
    assert before["norm_change"] == 0 and not before["collapsed"]


def test_a_batch_says_how_it_ended():
    found = rows()
    assert found.loc[(2, "own"), "iterations"] == found.loc[(2, "all"), "iterations"] == 2
    at = found.loc[(3, "earlier")]
    assert at["norm_change"] == pytest.approx(0.9)
    assert at["norm_change_mean"] == pytest.approx(0.6)
    assert (at["p_bar"], at["p_hat"], at["dp"]) == (1.05, 1.25, 0.2)
    assert at["me_ppl"] == pytest.approx(2e3)


def test_a_collapse_is_one_that_the_state_states_or_that_me_ppl_shows():
    assert rows()["collapsed"].groupby("batch").any().tolist() == [False, False, False, True]
    stated = batches() | {
        2: Batch(measured(*AFTER[2], 4), state(1, "request 13: not finite"), norms(math.nan, 0.1))
    }
    at = rows(stated).loc[(2, "all")]
    assert at["collapsed"] and math.isinf(at["dp"]) and math.isnan(at["norm_change"])
    hopeless = batches() | {2: Batch(measured([], [], math.inf, 4), state(), norms(0.1))}
    assert rows(hopeless).loc[(2, "all"), ["me_ppl", "collapsed"]].tolist() == [math.inf, True]


def test_scores_of_other_requests_are_refused():
    few = batches() | {2: Batch(measured(*AFTER[2], 3), state(), norms(0.1))}
    with pytest.raises(ValueError, match=r"batch2?.*4 requests of batches 1 to 2.*request 14"):
        rows(few)
    with pytest.raises(ValueError, match="unedited model: .*request 16"):
        measured_sequence(
            Measured.of(scores(IDS[:5]), None, CORRECTED_SCORING),
            {},
            MEMBERS,
            sequence=KEY,
            scoring=CORRECTED_SCORING,
        )


def test_norms_need_layers(tmp_path):
    norms(0.1).head(0).to_csv(tmp_path / "norms.csv", index=False)
    with pytest.raises(ValueError, match="no edited layer"):
        read_norms(tmp_path / "norms.csv")


def test_values_are_of_every_request_after_each_batch_from_its_own_on():
    values = request_values(UNEDITED, batches(), MEMBERS)
    assert tuple(values.columns) == SEQUENCE_VALUES.names
    assert values.groupby("batch")["request"].count().to_dict() == {0: 6, 1: 2, 2: 4, 3: 6}
    assert (values["edited_in"] <= values["batch"].where(values["batch"] > 0, 3)).all()
    last = values[values["batch"] == 3].groupby("edited_in")["eff_succ"].mean()
    assert last.to_dict() == {1: 0.0, 2: 0.5, 3: 0.5}  # the curve of forgetting


def test_a_sequence_is_evaluated_and_gathered_from_its_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = Study(Layout("demo"))
    study.write()
    gathered, around = study.evaluate()
    metrics = study.of_sequence("metrics.csv")

    found = read_sequences([gathered])
    assert tuple(found.columns) == SEQUENCE_METRICS.names and len(found) == 4 * 9
    assert [SequenceKey.of(path) for path in metrics] == study.keys()
    means = over_trials(found, averaging(Rule("trial")))
    at = means.set_index(["method", "batch", "group"])
    assert at.loc[("MEMIT", 3, "earlier"), "eff_succ"] == 0.0
    assert at.loc[("MEMIT", 3, "all"), "eff_succ"] == pytest.approx(1 / 3)
    assert at.loc[("AlphaEdit", 3, "all"), "eff_succ"] == 1.0
    assert at.loc[("MEMIT", 2, "own"), ["n_trials", "edits", "iterations"]].tolist() == [2, 4, 1]
    assert at.loc[("MEMIT", 3, "all"), "norm_change"] == pytest.approx(0.12)

    intervals = pd.read_csv(around)
    assert tuple(intervals.columns) == SEQUENCE_INTERVALS
    against = intervals[(intervals["kind"] == "difference") & (intervals["metric"] == "eff_succ")]
    assert against[["method", "against", "batch", "group", "mean"]].values.tolist() == [
        ["AlphaEdit", "MEMIT", 3, "all", pytest.approx(2 / 3)],
        ["AlphaEdit", "MEMIT", 3, "earlier", 1.0],
    ]
    assert against["n_requests"].tolist() == [12, 8] and (against["n_trials"] == 2).all()
    both = intervals[intervals["kind"] == "mean"].merge(
        means, left_on=["method", "batch", "group"], right_on=["method", "batch", "group"]
    )
    assert len(both) == 2 * 5 * len(PAIRED)  # batch 1 has no earlier requests
    for metric in PAIRED:
        of_metric = both[both["metric"] == metric]
        np.testing.assert_allclose(of_metric["mean"], of_metric[metric])
        assert (of_metric["low"] <= of_metric["mean"] + 1e-12).all()
    with pytest.raises(ValueError, match="occurs twice"):
        read_sequences([gathered, metrics[0]])


def values_frame(method, trial, after):
    """Values of one request a batch, two batches; ``after`` maps batch to efficacies."""
    frames = []
    for b, efficacies in after.items():
        for i, value in enumerate(efficacies):
            row = {"request": i, "edited_in": i + 1, "batch": b}
            row |= dict.fromkeys(("eff_acc", "gen_acc", "gen_succ", "spec_acc", "spec_succ"), 1.0)
            names = ("geography", "tiny", method, trial, 1)
            row |= dict(zip(SequenceKey._fields, names, strict=True))
            frames.append(row | {"eff_succ": value})
    return pd.DataFrame(frames)


def test_forgetting_is_by_the_batch_that_edited_a_request_after_the_last_common_batch():
    values = pd.concat(
        [
            values_frame("MEMIT", 1, {1: [1.0], 2: [0.0, 1.0], 3: [0.0, 0.0, 1.0]}),
            values_frame("MEMIT", 2, {1: [1.0], 2: [1.0, 1.0]}),
        ],
        ignore_index=True,
    )
    assert last_batch(values) == 2
    found = sequence_intervals(values, zeros="keep", resampling=Resampling(1, resamples=50))
    eff = found[found["metric"] == "eff_succ"]
    curve = eff[eff["group"] == "edited_in"]
    assert curve[["batch", "edited_in", "mean"]].values.tolist() == [[2, 1, 0.5], [2, 2, 1.0]]
    # a batch that only one trial has is a mean of that trial
    third = eff[(eff["batch"] == 3) & (eff["group"] == "all")].iloc[0]
    assert third["n_trials"] == 1 and third["mean"] == pytest.approx(1 / 3)
    assert set(found["kind"]) == {"mean"} and (found["low"] <= found["high"]).all()


def test_csv_of_sequences_keeps_its_types(tmp_path):
    path = tmp_path / "metrics.csv"
    write_csv(path, rows().reset_index()[list(SEQUENCE_METRICS.names)])
    found = read_sequences([path])
    assert found["collapsed"].dtype == bool and found["group"].tolist()[0] == "all"
    pd.testing.assert_frame_equal(
        found, rows().reset_index()[list(SEQUENCE_METRICS.names)], check_dtype=False
    )
