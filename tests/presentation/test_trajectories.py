"""The figure of metrics by iteration: its lines, bands and stops are those of the tables."""

import json
import math

import matplotlib.image
import pandas as pd
import pytest

from modeledit.presentation.figures import trajectories as T
from modeledit.study.methods import METHODS
from modeledit.study.stopping import Rule
from tests.presentation.test_tables import frame
from tests.presets import averaging

# k -> (efficacy, generalization, specificity, ME-PPL, p_bar, p_hat)
MEMIT = {1: (60, 50, 90, 80.0, 1.1, 100.0), 2: (90, 70, 88, 80.0, 1.05, 1.5)}
NEIGHBOR = {1: (50, 40, 95, 80.0, 1.1, 50.0), 2: (80, 60, 94, 80.0, 1.1, 20.0)}
AVERAGING = averaging(Rule("trial", 1.0))


def interval(metric, k, low, high, **other):
    row = {"method": "MEMIT", "at": "iteration", "k": k, "metric": metric, "kind": "edits"}
    return row | {"low": low, "high": high} | other


INTERVALS = pd.DataFrame(
    [
        interval("eff_acc", 1, 0.5, 0.7),
        interval("eff_acc", 2, 0.8, 1.0),
        interval("eff_acc", 2, 0.1, 0.2, at="stop"),
        interval("eff_acc", 2, 0.3, 0.4, kind="trials"),
        interval("dp", 1, 10.0, 200.0, kind="trials"),
        interval("eff_acc", 1, 0.0, 0.1, method="NA_MEMIT"),
    ]
)


def found(intervals=INTERVALS, **runs):
    metrics = frame(runs or {"MEMIT": MEMIT, "NA_MEMIT": NEIGHBOR})
    return T.trajectories(metrics, intervals, AVERAGING)


def test_a_line_has_the_means_the_intervals_and_the_stop_of_its_method():
    line = found()["MEMIT"]
    assert line.k == [1, 2] and (line.stop, line.stop_text) == (2, "2")
    efficacy, dp = line.courses["eff_acc"], line.courses["dp"]
    assert efficacy.mean == pytest.approx([0.6, 0.9])
    assert (efficacy.low, efficacy.high) == ([0.5, 0.8], [0.7, 1.0])
    assert dp.mean == pytest.approx([98.9, 0.45])
    assert dp.low[0] == 10.0 and math.isnan(dp.low[1])
    assert found()["NA_MEMIT"].courses["eff_acc"].high[0] == 0.1
    assert all(math.isnan(v) for v in line.courses["gen_acc"].low)


def test_a_method_that_never_meets_the_rule_has_no_stop():
    assert found()["NA_MEMIT"].stop is None


def test_without_intervals_there_are_means_alone():
    line = found(intervals=None)["MEMIT"]
    assert line.courses["eff_acc"].mean == pytest.approx([0.6, 0.9])
    assert all(math.isnan(v) for course in line.courses.values() for v in course.high)


def test_one_stage_alone_is_shown_where_nothing_else_is():
    assert list(found(MEMIT=MEMIT, SPREAD_MEMIT=NEIGHBOR)) == ["MEMIT"]
    assert list(found(SPREAD_MEMIT=NEIGHBOR)) == ["SPREAD_MEMIT"]
    assert METHODS["SPREAD_MEMIT"].probe


def test_the_figure_has_a_record_of_what_it_shows(tmp_path):
    path = tmp_path / "trajectories.png"
    lines = found()
    record = T.figure_trajectories(lines, path, epsilon=1.0, title="Tiny", note="A note.")
    written = json.loads(path.with_suffix(".json").read_text("utf-8"))
    assert [panel["metric"] for panel in written["panels"]] == list(T.PANELS)
    assert [of["method"] for of in record["methods"]] == ["MEMIT", "NA_MEMIT"]
    of = written["methods"][0]
    assert of["courses"]["eff_acc"]["mean"] == lines["MEMIT"].courses["eff_acc"].mean
    assert of["courses"]["dp"]["low"] == [10.0, None]  # JSON has no NaN
    assert of["colour"] == "#0072B2" and not of["dashed"]
    assert path.with_suffix(".pdf").stat().st_size > 1000
    image = matplotlib.image.imread(path)
    assert image[..., :3].std() > 0.05


def test_a_collapsed_run_is_drawn_as_far_as_it_is_finite(tmp_path):
    broken = MEMIT | {2: (*MEMIT[2][:5], math.inf)}
    record = T.figure_trajectories(
        found(MEMIT=broken), tmp_path / "broken.png", epsilon=1.0, title=""
    )
    written = json.loads((tmp_path / "broken.json").read_text("utf-8"))
    assert written["methods"][0]["courses"]["dp"]["mean"][1] is None
    assert record["methods"][0]["stop"] is None and written["epsilon"] == 1.0


def test_a_figure_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no method has an iteration"):
        T.figure_trajectories({}, tmp_path / "none.png", epsilon=1.0)
