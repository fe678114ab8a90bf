"""What one stage alone reaches of the gain of both: shares, the sentence, table and figure."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from modeledit.evaluation.metrics import REQUEST_METRICS
from modeledit.evaluation.resampling import Resampling
from modeledit.evaluation.significance import differences
from modeledit.paper.judging import Data
from modeledit.presentation import tables as T
from modeledit.presentation.figures import stages as S
from modeledit.study.stopping import Rule
from tests.presentation.test_tables import build, frame, rows
from tests.presets import averaging

# k -> (efficacy, generalization, specificity, ME-PPL, p_bar, p_hat)
BOTH = {1: (60, 50, 90, 80.0, 1.1, 100.0), 2: (90, 70, 88, 80.0, 1.05, 10.0)}
BOTH |= {3: (100, 80, 87, 80.0, 1.02, 1.0)}
SPREAD = {1: BOTH[1], 2: (90, 70, 89, 80.0, 1.1, 10.0), 3: (90, 80, 89, 80.0, 1.1, 1.0)}
SPREAD |= {4: (100, 80, 80, 80.0, 1.1, 1.0)}
OPTIMIZATION = {1: BOTH[1], 2: (60, 50, 90, 80.0, 1.0, 90.0), 3: (50, 50, 90, 80.0, 1.0, 10.0)}
STUDY = {"MEMIT": BOTH, "SPREAD_MEMIT": SPREAD, "OPTIMIZATION_MEMIT": OPTIMIZATION}


def found(runs, epsilon=1.0, **options):
    return S.study(frame(runs, **options), "MEMIT", averaging(Rule("trial", epsilon)))


def by_name(runs, k=3):
    return {(s.repeats, s.metric): s.share for s in S.shares(found(runs)) if s.k == k}


def test_shares_are_of_the_gain_of_both_up_to_the_last_common_iteration():
    shares = by_name(STUDY)
    assert shares["spread", "eff_acc"] == pytest.approx(30 / 40)
    assert shares["spread", "ln_p_hat"] == pytest.approx(1)
    assert shares["optimization", "eff_acc"] == pytest.approx(-10 / 40)
    assert shares["optimization", "ln_p_hat"] == pytest.approx(1 / 2)
    share = S.shares(found(STUDY))[0]
    assert (share.k, share.metric, share.repeats) == (3, "ln_p_hat", "spread")
    assert share.both == pytest.approx(math.log(100)) and len(S.shares(found(STUDY))) == 4
    assert S.describe(S.shares(found(STUDY)), "MEMIT", "Tiny") == (
        "MEMIT on Tiny, from *k* = 1 to *k* = 3, SPREAD alone makes 100% (ln p-hat), 75%"
        " (efficacy accuracy) of the gain; OPTIMIZATION alone makes 50% (ln p-hat), -25% (efficacy"
        " accuracy) of the gain."
    )


def test_shares_are_also_of_the_gain_up_to_the_stop():
    assert [s.k for s in S.shares(found(STUDY, epsilon=9.0))] == [2] * 4 + [3] * 4
    to_stop = S.shares(found(STUDY, epsilon=9.0))[:4]
    assert [round(s.share, 3) for s in to_stop] == [1.0, 1.0, 0.046, 0.0]
    assert "from *k* = 1 to *k* = 2, SPREAD alone" in S.describe(to_stop, "MEMIT", "Tiny")
    # at k = 1 nothing was gained yet, and a rule that is never met says nothing
    for epsilon in (1000.0, 1e-9):
        assert {s.k for s in S.shares(found(STUDY, epsilon))} == {3}


def test_where_nothing_is_gained_there_is_no_share():
    still = STUDY | {"MEMIT": {k: (60, *BOTH[k][1:]) for k in BOTH}}
    assert math.isnan(by_name(still)["spread", "eff_acc"])
    assert by_name(still)["spread", "ln_p_hat"] == pytest.approx(1)
    says = S.describe(S.shares(found(still)), "MEMIT", "Tiny")
    assert "-- (efficacy accuracy)" in says and says.endswith("--: no gain, or no finite p-hat.")
    worse = {1: BOTH[1], 2: (40, *BOTH[2][1:]), 3: (40, *BOTH[3][1:])}
    assert math.isnan(by_name(STUDY | {"MEMIT": worse})["spread", "eff_acc"])


@pytest.mark.parametrize("p_hat", [math.inf, math.nan])
def test_a_perplexity_that_is_none_has_no_share(p_hat):
    broken = OPTIMIZATION | {3: (*OPTIMIZATION[3][:5], p_hat)}
    shares = by_name(STUDY | {"OPTIMIZATION_MEMIT": broken})
    assert math.isnan(shares["optimization", "ln_p_hat"])
    assert shares["spread", "ln_p_hat"] == pytest.approx(1)


def test_without_the_whole_method_or_without_any_there_is_nothing_to_share():
    assert S.shares(found({"SPREAD_MEMIT": SPREAD})) == []
    assert (
        not found({"PMET": BOTH, "NA_MEMIT": BOTH}).curves and S.describe([], "MEMIT", "Tiny") == ""
    )


def test_every_model_and_algorithm_has_its_sentence():
    both = STUDY | {"PMET": BOTH, "SPREAD_PMET": SPREAD}
    metrics = pd.concat([frame(both, model="a"), frame(STUDY, model="b")], ignore_index=True)
    said = S.describe_all(metrics, {"a": "Model A"}, averaging(Rule("trial")))
    begin = [sentence.split(",")[0] for sentence in said]
    assert begin == ["MEMIT on Model A", "PMET on Model A", "MEMIT on b"]


def test_the_table_has_every_iteration_and_no_bold():
    table = build("stages", frame(STUDY | {"NA_MEMIT": BOTH, "ROME": BOTH}), dataset="geography")
    expected = ["Unedited 0", *(f"MEMIT {k}" for k in BOTH)]
    expected += [f"SPREAD_MEMIT {k}" for k in SPREAD]
    assert rows(table) == [*expected, *(f"OPTIMIZATION_MEMIT {k}" for k in OPTIMIZATION)]
    assert table.columns[-3:] == ("p_bar", "p_hat", "dp") and not table.bold.any(axis=None)
    assert table.frame.set_index(["method", "k"]).loc[("SPREAD_MEMIT", "3"), "colour"] == "green"


@pytest.mark.parametrize("name", [n for n in T.SPECS if n != "stages"])
def test_no_table_of_the_paper_shows_them(name):
    runs = {"MEMIT": BOTH, "NA_MEMIT": BOTH, "NAP_MEMIT": BOTH}
    alone = {name: steps for name, steps in STUDY.items() if name != "MEMIT"}
    without = build(name, frame(runs), dataset="geography")
    table = build(name, frame(runs | alone), dataset="geography")
    pd.testing.assert_frame_equal(table.frame, without.frame)


def test_no_claim_and_no_paired_test_is_about_them():
    metrics = frame(STUDY)
    data = Data(metrics, averaging=averaging(Rule("trial")))
    for cells in (data.steps, data.stops, data.courses, data.picks):
        assert {cell[2] for cell in cells} == {"MEMIT"}
    values = pd.DataFrame(
        [
            {name: row[name] for name in ("dataset", "model", "method", "trial", "k")}
            | {"request": i}
            | {m: row[m] for m in REQUEST_METRICS}
            for row in metrics.to_dict("records")
            for i in range(3)
        ]
    )
    few = Resampling(seed=1, resamples=20, exchanges=20)
    tested = differences(values, metrics, rule=Rule("trial"), zeros="keep", resampling=few)
    assert set(tested["a"]) == set(tested["b"]) == {"MEMIT"}


def test_the_figure_draws_what_it_was_given(tmp_path):
    path = tmp_path / "a.stages.png"
    broken = STUDY | {"SPREAD_MEMIT": SPREAD | {2: (*SPREAD[2][:5], math.inf)}}
    record = S.figure_stages(found(broken, trials=2), path, algorithm="MEMIT", title="t", note="n")
    assert list(record["series"]) == ["both", "spread", "optimization"]
    assert record["k"] == {"both": [1, 2, 3], "spread": [1, 2, 3, 4], "optimization": [1, 2, 3]}
    np.testing.assert_allclose(record["series"]["both"]["eff_acc"], [0.6, 0.9, 1.0])
    assert record["series"]["optimization"]["p_hat"] == [100.0, 90.0, 10.0]
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    stored = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert stored["series"]["spread"]["p_hat"] == [100.0, None, 1.0, 1.0]
    assert len(stored["shares"]) == 4
    with pytest.raises(ValueError, match="no metrics of PMET"):
        S.figure_stages(S.Study({}, None), path, algorithm="PMET")
