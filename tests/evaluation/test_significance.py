"""Intervals and paired tests, against scipy, by simulation, and in all their corners."""

import runpy
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from modeledit.evaluation import resampling as R
from modeledit.evaluation import significance as S
from modeledit.evaluation.aggregation import at_stop, by_iteration
from modeledit.evaluation.metrics import (
    COLUMNS,
    REQUEST_METRICS,
    RUN,
    SCORES,
    defined,
    harmonic_mean,
)
from modeledit.evaluation.request_values import read_requests
from modeledit.presentation.wording import note
from modeledit.study.stopping import Rule
from tests.presets import averaging
from tests.script_job import script_job

ROOT = Path(__file__).resolve().parents[2]


TRIAL = Rule("trial")
MEANS = averaging(TRIAL)


def intervals(requests, metrics, *, zeros="keep", **often):
    resampling = R.Resampling(**often)
    return S.intervals(requests, metrics, rule=TRIAL, zeros=zeros, resampling=resampling)


def differences(requests, metrics, *, zeros="keep", **often):
    resampling = R.Resampling(**often)
    return S.differences(requests, metrics, rule=TRIAL, zeros=zeros, resampling=resampling)


def run(values, dp, *, dataset="facts", model="small", method="MEMIT", trial=1, zeros="keep"):
    """(requests, metrics) of one run from values[k] (edits, 6) and dp of k = 1, 2, ..."""
    name = dict(zip(RUN, (dataset, model, method, trial), strict=True))
    requests, rows = [], []
    for k, table in enumerate(values):
        frame = pd.DataFrame(table, columns=list(REQUEST_METRICS))
        requests.append(frame.assign(request=range(len(frame)), k=k, **name))
        row = frame.mean().to_dict()
        row |= {
            s: harmonic_mean([row[p] for p in parts], zeros) if defined(s, k) else np.nan
            for s, parts in SCORES.items()
        }
        row |= {"k": k, "n_requests": len(frame), "me_ppl": 50.0 + k, "p_hat": 1000.0}
        if k:
            row |= {"p_bar": 1.0, "p_hat": 1.0 + dp[k - 1], "dp": dp[k - 1]}
        rows.append(name | row)
    return pd.concat(requests, ignore_index=True), pd.DataFrame(rows, columns=list(COLUMNS))


def gather(*runs):
    requests, metrics = zip(*runs, strict=True)
    return pd.concat(requests, ignore_index=True), pd.concat(metrics, ignore_index=True)


def draw(rng, n, share=0.5):
    return (rng.random((n, 6)) < share).astype(float)


def study(rng, n=30, trials=3, better=0.9):
    """MEMIT and NA_MEMIT over some trials; trial 1 of MEMIT needs an iteration less."""
    made = []
    for trial in range(1, trials + 1):
        rounds = [draw(rng, n - trial, p) for p in (0.1, 0.5, 0.7, 0.8)]
        dp = [9, 0.5] if trial == 1 else [9, 3, 0.5]
        made.append(run(rounds[: len(dp) + 1], dp, trial=trial))
        made.append(run([rounds[0], rounds[1], draw(rng, n - trial, better)], [5, 0.1],
                        method="NA_MEMIT", trial=trial))  # fmt: skip
    return gather(*made)


def compare(a, b, **options):
    """`differences` of NA_MEMIT with values a against MEMIT with values b, one iteration each."""
    zero = np.zeros_like(np.atleast_2d(a))
    requests, metrics = gather(run([zero, a], [0.1], method="NA_MEMIT"), run([zero, b], [0.1]))
    found = differences(requests, metrics, seed=1, resamples=200, **options)
    return found[found["comparison"] == "neighbor"].set_index("metric")


# ---- against scipy and by hand


@pytest.mark.parametrize("zeros", ["keep", "drop"])
@given(
    parts=hnp.arrays(
        float, (7, 6), elements=st.sampled_from([0.0, np.nan, 1.0]) | st.floats(1e-6, 1)
    )
)
def test_scores_are_the_harmonic_mean_of_the_metrics(zeros, parts):
    got = R.averaged([parts], zeros)
    for row, scores in zip(parts, got[:, 6:], strict=True):
        named = dict(zip(REQUEST_METRICS, row, strict=True))
        want = [harmonic_mean([named[p] for p in names], zeros) for names in SCORES.values()]
        np.testing.assert_allclose(scores, want, rtol=1e-12)


@pytest.mark.parametrize("n", [8, 60])
def test_the_test_agrees_with_scipy_both_enumerated_and_sampled(n):
    rng = np.random.default_rng(n)
    a, b = draw(rng, n, 0.6), draw(rng, n, 0.35)
    got = compare(a, b)
    for j, metric in enumerate(REQUEST_METRICS):
        want = stats.permutation_test(
            (a[:, j], b[:, j]),
            lambda x, y, axis: np.mean(x - y, axis=axis),
            permutation_type="samples",
            vectorized=True,
            rng=1,
        )
        assert got.loc[metric, "difference"] == pytest.approx(want.statistic)
        assert got.loc[metric, "p"] == pytest.approx(want.pvalue, abs=1e-12 if n == 8 else 0.02)


def test_the_bootstrap_agrees_with_scipy_over_several_trials():
    rng = np.random.default_rng(3)
    trials = [draw(rng, n, share) for n, share in ((40, 0.3), (25, 0.6))]
    streams = [R.stream(1, "facts", "small", t) for t in (1, 2)]
    low, high = R.bootstrap(trials, streams, "keep", 4000, 0.95)
    want = stats.bootstrap(
        [t[:, 0] for t in trials],
        lambda x, y, axis: (np.mean(x, axis=axis) + np.mean(y, axis=axis)) / 2,
        n_resamples=4000,
        method="percentile",
        rng=1,
    ).confidence_interval
    assert (low[0], high[0]) == pytest.approx((want.low, want.high), abs=0.02)


def test_a_score_is_tested_by_exchanging_whole_edits():
    """Three edits that differ: 8 exchanges, counted by hand."""
    a = np.ones((4, 6))
    b = np.ones((4, 6))
    b[0, :2] = b[1, 4:] = b[2, 2:4] = 0
    extreme = []
    for bits in np.ndindex(2, 2, 2):
        swap = np.array([*bits, 0], dtype=bool)[:, None]
        sides = [np.where(swap, x, y).mean(axis=0)[[0, 2, 4]] for x, y in ((a, b), (b, a))]
        extreme.append(abs(harmonic_mean(sides[0], "keep") - harmonic_mean(sides[1], "keep")))
    want = np.mean(np.array(extreme) >= extreme[0] - 1e-9)
    got = compare(a, b).loc["score_acc"]
    assert got["p"] == pytest.approx(want) and got["n"] == 4
    assert got["difference"] == pytest.approx(1 - harmonic_mean([0.75] * 3, "keep"))


# ---- simulation


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    truth = np.array([0.8, 0.8, 0.5, 0.5, 0.7, 0.7])
    score = harmonic_mean(truth[[0, 2, 4]], "keep")
    inside, repeats = np.zeros(2), 200
    for seed in range(repeats):
        trials = [(rng.random((60, 6)) < truth).astype(float) for _ in range(2)]
        streams = [R.stream(seed, "facts", "small", t) for t in (1, 2)]
        low, high = R.bootstrap(trials, streams, "keep", 400, 0.95)
        inside += [low[0] <= 0.8 <= high[0], low[6] <= score <= high[6]]
    assert ((inside / repeats > 0.88) & (inside / repeats <= 0.995)).all(), inside / repeats


def test_without_a_difference_p_is_close_to_uniform():
    rng = np.random.default_rng(0)
    found = []
    for seed in range(300):
        pairs = [rng.random((40, 2, 6)) for _ in range(2)]
        streams = [R.stream(seed, "facts", "small", t) for t in (1, 2)]
        found.append(R.exchange_test(pairs, streams, "keep", 199))
    for j in (0, 5, 6, 7):
        p = np.array(found)[:, j]
        assert stats.kstest(p, "uniform").pvalue > 1e-3
        assert (p <= 0.05).mean() < 0.1


def test_a_real_difference_is_found_and_kept_after_correction():
    rng = np.random.default_rng(0)
    a = draw(rng, 80)
    b = a.copy()
    b[:, 4] = 0
    got = compare(a, b)
    assert got.loc["spec_acc", "significant"] and got.loc["spec_acc", "p"] == 1e-4
    assert got.loc["spec_acc", "low"] > 0 and got.loc["spec_acc", "effect"] > 0.5
    assert not got.drop(["spec_acc", "score_acc"])["significant"].any()


# ---- properties


tables = st.integers(1, 20).flatmap(
    lambda n: hnp.arrays(float, (2, n, 6), elements=st.sampled_from([0.0, 0.5, 1.0, np.nan]))
)


@settings(max_examples=40, deadline=None)
@given(tables)
def test_either_side_first_gives_the_same_answer_with_the_other_sign(pair):
    pair[:, :, 0] = np.nan_to_num(pair[:, :, 0])
    one, other = compare(*pair), compare(*pair[::-1])
    assert list(one.index) == list(other.index)
    np.testing.assert_array_equal(one["p"], other["p"])
    for this, that in (("difference", "difference"), ("low", "high"), ("effect", "effect")):
        np.testing.assert_allclose(one[this], -other[that], atol=1e-12)
    assert one["p"].between(0, 1, inclusive="right").all() and one["p_adjusted"].notna().all()
    assert (one["p"][np.isclose(one["difference"], 0)] == 1).all()
    valid = ~np.isnan(pair).any(axis=0)
    assert one["n"].get("spec_acc", 0) == valid[:, 4].sum()


def test_neither_the_order_of_edits_nor_other_runs_change_a_result():
    rng = np.random.default_rng(5)
    requests, metrics = study(rng)
    options = {"seed": 7, "resamples": 100, "exchanges": 199}
    shuffled = requests.sample(frac=1, random_state=1)
    for function in (intervals, differences):
        kept = options if function is differences else {"seed": 7, "resamples": 100}
        whole = function(requests, metrics, **kept)
        pd.testing.assert_frame_equal(function(shuffled, metrics, **kept), whole)
    alone = requests["method"] == "MEMIT", metrics["method"] == "MEMIT"
    fewer = differences(requests[alone[0]], metrics[alone[1]], **options)
    columns = ["comparison", "a", "metric", "p", "low", "high"]
    pd.testing.assert_frame_equal(
        fewer[columns], differences(requests, metrics, **options)[columns].head(len(fewer))
    )
    other = differences(requests, metrics, **(options | {"seed": 8}))
    assert not other["low"].equals(differences(requests, metrics, **options)["low"])


def test_adjusted_p_are_monotonic_and_never_smaller():
    found = differences(*study(np.random.default_rng(2)), seed=1, resamples=50, exchanges=499)
    ordered = found.sort_values("p")
    assert ordered["p_adjusted"].is_monotonic_increasing
    assert (ordered["p_adjusted"] >= ordered["p"]).all()
    assert ordered["p_adjusted"].iloc[-1] == ordered["p"].iloc[-1]  # the largest is not corrected
    assert (found["significant"] == (found["p_adjusted"] <= 0.05)).all()
    assert 0 < found["significant"].sum() < len(found)


# ---- which rows are compared


def test_means_are_those_of_the_tables():
    rng = np.random.default_rng(4)
    requests, metrics = study(rng)
    got = intervals(requests, metrics, seed=1, resamples=50)
    for at, table in (
        ("iteration", by_iteration(metrics, MEANS)),
        ("stop", at_stop(metrics, MEANS)),
    ):
        rows = got[got["at"] == at].set_index(["method", "k", "metric", "kind"])
        for _, line in table.iterrows():
            for metric in ("eff_acc", "spec_succ", "score_acc", "me_ppl", "dp"):
                for kind in ("trials", "edits"):
                    key = (line["method"], line["k"], metric, kind)
                    by_edits = metric in R.PAIRED
                    if kind == "edits" and not by_edits or np.isnan(line[metric]):
                        assert key not in rows.index
                        continue
                    row = rows.loc[key]
                    assert row["mean"] == pytest.approx(line[metric])
                    assert row["low"] <= row["mean"] <= row["high"]
                    assert row["n_trials"] == 3 and row["n_requests"] == 29 + 28 + 27
    # The unedited row may have a specificity accuracy (I19), and even then has no score of it.
    assert (got["kind"] == "edits").sum() == 8 * (4 + 1 + 3 + 1) - 2


def test_intervals_over_trials_are_students_t():
    requests, metrics = study(np.random.default_rng(4))
    values = metrics.query("method == 'NA_MEMIT' and k == 1")["gen_acc"]
    want = stats.t.interval(0.9, 2, values.mean(), stats.sem(values))
    got = intervals(requests, metrics, seed=1, resamples=50, confidence=0.9)
    row = got.query("method == 'NA_MEMIT' and at == 'iteration' and k == 1 and kind == 'trials'")
    row = row.set_index("metric").loc["gen_acc"]
    assert (row["low"], row["high"]) == pytest.approx((max(want[0], 0), min(want[1], 1)))
    assert got.query("metric in @SCORES and k > 0")["high"].max() <= 1
    assert got.query("metric == 'dp' and method == 'MEMIT' and k == 2")["low"].tolist() == [0]


def test_intervals_of_differences_are_of_the_signed_ones():
    requests, metrics = study(np.random.default_rng(4))
    at = (metrics["method"] == "NA_MEMIT") & (metrics["k"] == 1)
    for gaps in ((5.0, -4.0, 2.0), (-5.0, -5.5, -6.0)):
        metrics.loc[at, "p_hat"] = 1.0 + np.array(gaps)
        want = stats.t.interval(0.95, 2, np.mean(gaps), stats.sem(gaps))
        got = intervals(requests, metrics, seed=1, resamples=20)
        row = got.query("method == 'NA_MEMIT' and at == 'iteration' and k == 1")
        row = row.set_index("metric").loc["dp"]
        rows = by_iteration(metrics, MEANS).query("method == 'NA_MEMIT' and k == 1")
        assert row["mean"] == pytest.approx(abs(np.mean(gaps))) == rows["dp"].item()
        ends = sorted(np.abs(want))
        assert (row["low"], row["high"]) == pytest.approx(
            (0 if want[0] < 0 < want[1] else ends[0], ends[1])
        )


def test_what_one_trial_lacks_has_no_interval():
    requests, metrics = study(np.random.default_rng(4), trials=4)
    metrics.loc[(metrics["trial"] == 2) & (metrics["k"] == 1), "me_ppl"] = np.nan
    lost = (requests["trial"] == 2) & (requests["method"] == "MEMIT")
    requests.loc[lost, "gen_acc"] = np.nan
    got = intervals(requests, metrics, seed=1, resamples=20)
    got = got[got["at"] == "iteration"]
    assert got.query("metric == 'me_ppl' and k == 1").empty
    assert len(got.query("metric == 'me_ppl' and k == 2")) == 2
    by_edits = got[got["kind"] == "edits"]
    assert set(by_edits.query("metric in ['gen_acc', 'score_acc']")["method"]) == {"NA_MEMIT"}
    found = differences(requests, metrics, seed=1, resamples=20, exchanges=19)
    assert found.query("metric == 'gen_acc' and (a == 'MEMIT' or b == 'MEMIT')").empty
    assert not found.query("metric == 'eff_acc' and b == 'MEMIT'").empty


def test_two_trials_have_no_interval_over_trials_and_a_collapse_has_no_width():
    requests, metrics = study(np.random.default_rng(4), trials=2)
    assert set(intervals(requests, metrics, seed=1, resamples=20)["kind"]) == {"edits"}
    requests, metrics = study(np.random.default_rng(4))
    metrics.loc[(metrics["trial"] == 2) & (metrics["k"] == 1), "me_ppl"] = np.inf
    got = intervals(requests, metrics, seed=1, resamples=20)
    row = got.query("metric == 'me_ppl' and k == 1 and at == 'iteration'")
    assert np.isinf(row["mean"]).all() and row[["low", "high"]].isna().all(axis=None)


def test_each_trial_is_compared_at_its_own_stop():
    requests, metrics = study(np.random.default_rng(1))
    got = differences(requests, metrics, seed=1, resamples=20, exchanges=99)
    first = got.query("metric == 'eff_acc'").set_index(["comparison", "a"])
    assert first.loc[("iteration", "MEMIT"), ["a_k", "b_k", "n"]].tolist() == ["2–3", "1", 84]
    assert first.loc[("neighbor", "NA_MEMIT"), ["a_k", "b", "b_k"]].tolist() == [
        "2",
        "MEMIT",
        "2–3",
    ]
    stops = at_stop(metrics, MEANS).set_index("method")["eff_acc"]
    assert first.loc[("neighbor", "NA_MEMIT"), "mean_b"] == pytest.approx(stops["MEMIT"])
    assert first.loc[("neighbor", "NA_MEMIT"), "mean_a"] == pytest.approx(stops["NA_MEMIT"])


def test_prefixes_and_further_neighbors_are_compared_too():
    rng = np.random.default_rng(1)
    names = ("MEMIT", "NA_MEMIT", "NAP_MEMIT", "NA3_MEMIT", "NA2_PMET")
    made = [run([draw(rng, 9), draw(rng, 9)], [0.1], method=name) for name in names]
    got = differences(*gather(*made), seed=1, resamples=20)
    pairs = set(got[["comparison", "a", "b"]].itertuples(index=False, name=None))
    assert pairs == {("iteration", name, name) for name in names} | {
        ("neighbor", "NA_MEMIT", "MEMIT"),
        ("neighbor", "NAP_MEMIT", "MEMIT"),
        ("neighbor", "NA3_MEMIT", "MEMIT"),
        ("prefix", "NAP_MEMIT", "NA_MEMIT"),
        ("count", "NA3_MEMIT", "NA_MEMIT"),
    }
    # A run that stops at k = 1 does not differ from itself.
    same = got[got["comparison"] == "iteration"]
    assert (same["p"] == 1).all() and (same["effect"].fillna(0) == 0).all()


def test_a_run_that_never_stops_is_taken_at_its_end():
    rng = np.random.default_rng(1)
    rounds = [draw(rng, 20, p) for p in (0, 0.3, 0.6, 0.9)]
    got = differences(*run(rounds, [9, 8, 7]), seed=1, resamples=20)
    assert set(got["a_k"]) == {"3"}
    assert got.set_index("metric").loc["gen_acc", "mean_a"] == rounds[3][:, 2].mean()


# ---- corners


def test_one_pair_none_and_a_metric_that_nobody_has():
    one = compare(np.ones((1, 6)), np.zeros((1, 6)))
    assert (one["p"] == 1).all() and (one["n"] == 1).all() and (one["difference"] == 1).all()
    assert (one.drop(list(SCORES))["effect"] == 0).all() and not one["significant"].any()

    a = np.ones((5, 6))
    a[:, 4:] = np.nan
    without = compare(a, np.zeros((5, 6)))
    assert set(without.index) == {"eff_acc", "eff_succ", "gen_acc", "gen_succ"}
    assert without.loc["eff_acc", "p"] == 2 / 2**5

    few = np.ones((30, 6))
    few[:3] = 0  # of 30 pairs only 3 differ: all 8 exchanges are counted
    assert (compare(np.ones((30, 6)), few)["p"] == 2 / 8).all()
    steady = compare(np.full((11, 6), 0.3), np.full((11, 6), 0.2))
    assert (steady.drop(list(SCORES))["effect"] == 0).all()

    requests, metrics = gather(
        run([draw(np.random.default_rng(0), 5)] * 2, [0.1]),
        run([draw(np.random.default_rng(1), 5)] * 2, [0.1], method="NA_MEMIT", trial=2),
    )
    assert set(differences(requests, metrics, seed=1)["comparison"]) == {"iteration"}
    requests["request"] += requests["trial"] * 100
    apart = requests.assign(trial=1), metrics.assign(trial=1)
    assert set(differences(*apart, seed=1)["comparison"]) == {"iteration"}


def test_nothing_in_nothing_out():
    requests, metrics = run([np.zeros((2, 6))], [])
    empty = differences(requests, metrics, seed=1)
    assert empty.empty and list(empty) == list(S.DIFFERENCE_COLUMNS)
    assert differences(requests[:0], metrics[:0], seed=1).empty
    assert list(intervals(requests[:0], metrics[:0], seed=1)) == list(S.INTERVAL_COLUMNS)
    assert note(empty, "facts") == ""
    unscored = intervals(requests[:0], study(np.random.default_rng(0))[1], seed=1)
    assert set(unscored["kind"]) == {"trials"}


def test_what_does_not_fit_together_is_named():
    requests, metrics = run([np.zeros((2, 6))] * 3, [5, 0.1])
    with pytest.raises(ValueError, match="facts/small/MEMIT/trial1 has no iteration 2"):
        differences(requests[requests["k"] < 2], metrics, seed=1)
    with pytest.raises(ValueError, match="no run facts/other/MEMIT/trial1"):
        intervals(requests.assign(model="other"), metrics, seed=1)
    with pytest.raises(ValueError, match="occurs twice"):
        intervals(pd.concat([requests, requests]), metrics, seed=1)
    with pytest.raises(ValueError, match="zeros: 'none'"):
        differences(requests, metrics, seed=1, zeros="none")


# ---- the footnote


def test_the_note_says_test_edits_correction_and_what_holds():
    rng = np.random.default_rng(0)
    a = draw(rng, 80)
    b = a.copy()
    b[:, 4] = 0
    zero = np.zeros_like(a)
    found = differences(
        *gather(run([zero, a], [0.1], method="NA_MEMIT"), run([zero, b], [0.1])),
        seed=1,
        resamples=50,
    )
    text = note(found, "facts", comparison="neighbor", names={"small": "Small 1B"})
    gain = 100 * a[:, 4].mean()
    assert f"n = 80), paired permutation test, p adjusted over {len(found)} tests" in text
    assert (
        f"Small 1B, NA_MEMIT (k = 1) against MEMIT (k = 1): specificity accuracy {gain:+.1f}"
        in text
    )
    assert "efficacy" not in text and "\n" not in text and text.endswith(".")
    assert "none of them holds" in note(found, "facts", comparison="iteration")
    assert note(found, "other") == ""


# ---- files


def write(folder, requests, metrics):
    """The files of each run as the workflow lays them out; returns their paths."""
    paths = []
    for (dataset, model, method, trial), frame in requests.groupby(list(RUN)):
        path = folder / dataset / model / method / f"trial{trial}" / "request_metrics.parquet"
        path.parent.mkdir(parents=True)
        frame.drop(columns=list(RUN)).to_parquet(path, index=False)
        paths.append(str(path))
    metrics.to_csv(folder / "metrics.csv", index=False)
    return paths


def test_requests_and_edits_are_read_by_their_paths(tmp_path):
    requests, metrics = study(np.random.default_rng(0), trials=2)
    paths = write(tmp_path, requests, metrics)
    keys = [*RUN, "k", "request"]
    got = read_requests(paths).sort_values(keys, ignore_index=True)
    want = requests.sort_values(keys, ignore_index=True)[got.columns]
    pd.testing.assert_frame_equal(got, want, check_dtype=False)

    log = Path(paths[0]).parent / "iter1" / "edits.parquet"
    log.parent.mkdir()
    pd.DataFrame({"request": [3], "p_bar": [1.5], "p_hat": [9.0]}).to_parquet(log)
    joined = read_requests(paths, [log])
    assert len(joined) == len(got) and joined["p_hat"].notna().sum() == 1
    hit = joined.query("request == 3 and k == 1 and trial == 1 and method == 'MEMIT'")
    assert hit["p_bar"].tolist() == [1.5]

    elsewhere = tmp_path / "request_metrics.parquet"
    requests.to_parquet(elsewhere)
    with pytest.raises(ValueError, match="<dataset>/<model>/<method>/trial<t>"):
        read_requests([elsewhere])
    requests.drop(columns="gen_acc").to_parquet(paths[0])
    with pytest.raises(ValueError, match=r"request_metrics.parquet: missing columns \['gen_acc'\]"):
        read_requests(paths)


def test_the_script_writes_both_tables(tmp_path):
    requests, metrics = study(np.random.default_rng(0), n=12)
    files = [str(path) for path in write(tmp_path, requests, metrics)]
    job = script_job(
        str(tmp_path / "log"),
        input={"requests": files, "metrics": str(tmp_path / "metrics.csv")},
        output={name: str(tmp_path / f"{name}.csv") for name in ("intervals", "differences")},
        params={"seed": 1, "epsilon": 1.0, "stop_row": "trial", "zeros": "keep"},
    )
    runpy.run_path(str(ROOT / "scripts" / "measure_differences.py"), {"snakemake": job}, "__main__")
    around = pd.read_csv(job.output.intervals)
    found = pd.read_csv(job.output.differences)
    assert list(around) == list(S.INTERVAL_COLUMNS) and set(around["kind"]) == {"trials", "edits"}
    assert list(found) == list(S.DIFFERENCE_COLUMNS) and found["significant"].dtype == bool
    assert note(found, "facts").startswith("Differences on the same edits (n = 30)")


def test_a_whole_study_takes_seconds():
    rng = np.random.default_rng(0)
    made = [
        run([draw(rng, 1000, 0.7) for _ in range(11)], [9.0] * 9 + [0.5], method=m, trial=t)
        for t in (1, 2, 3)
        for m in ("MEMIT", "NA_MEMIT")
    ]
    requests, metrics = gather(*made)
    start = time.process_time()
    intervals(requests, metrics, seed=1)
    differences(requests, metrics, seed=1)
    assert time.process_time() - start < 20
