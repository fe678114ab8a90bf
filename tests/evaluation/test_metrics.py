"""Metrics from synthetic scores whose right answers can be counted by hand."""

import math
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeledit.evaluation import aggregation as A
from modeledit.evaluation import metrics as M
from modeledit.study.layout import RunKey
from modeledit.study.stopping import Rule
from tests import tables as made_tables
from tests.presets import CORRECTED_SCORING, averaging

ROOT = Path(__file__).resolve().parents[2]
TRIAL = Rule("trial")
EXACT = ("exact", "sum")  # accuracy and success, where a test is not about them

SCHEMA = pa.schema(
    [
        ("request", pa.int64()),
        ("kind", pa.string()),
        ("index", pa.int16()),
        ("object", pa.string()),
        ("token_ids", pa.list_(pa.int32())),
        ("logprobs", pa.list_(pa.float32())),
        ("argmax", pa.list_(pa.int32())),
    ]
)


def row(request, kind, index, obj, ids, logprobs, argmax):
    values = (request, kind, index, obj, ids, logprobs, argmax)
    return dict(zip(M.SCORE_COLUMNS, values, strict=True))


def prompt(request, kind, index=0, *, new, true):
    """Two rows; new and true are (token ids, log-probabilities, argmax ids)."""
    return [row(request, kind, index, "new", *new), row(request, kind, index, "true", *true)]


def scores(*prompts):
    return pd.DataFrame([r for p in prompts for r in p], columns=list(M.SCORE_COLUMNS))


HIT = ([5], [-0.1], [5])  # the object is what the model says
MISS = ([5], [-3.0], [6])
LESS = ([7], [-2.0], [5])


def random_scores(rng, requests, objects=(1, 3), neighbors=10, paraphrases=2, texts=50):
    """A realistic scores table: every kind, ragged objects."""
    rows = []
    for request in range(requests):
        for kind, number in (("edit", 1), ("paraphrase", paraphrases), ("neighbor", neighbors)):
            for index in range(number):
                for obj in ("new", "true"):
                    n = int(rng.integers(*objects, endpoint=True))
                    ids = rng.integers(0, 50, n)
                    said = np.where(rng.random(n) < 0.6, ids, rng.integers(0, 50, n))
                    rows.append(row(request, kind, index, obj, ids, -rng.exponential(2, n), said))
    for number in range(texts):
        n = int(rng.integers(11, 45))
        ids, logprobs = rng.integers(0, 50, n), -rng.exponential(3, n - 1)
        rows.append(row(number, "text", 0, "", ids, logprobs, []))
    return pd.DataFrame(rows)


def edits(p_bar, p_hat, p_init=(100.0, 300.0)):
    return pd.DataFrame(
        {
            "request": range(len(p_bar)),
            "p_init": p_init,
            "p_bar": p_bar,
            "p_hat": p_hat,
            "p_bar_legacy": np.multiply(p_bar, 0.5),
            "p_hat_legacy": np.multiply(p_hat, 0.5),
            "p_init_legacy": np.multiply(p_init, 0.25),
        }
    )


# ---- one request


def one(accuracy=EXACT[0], success=EXACT[1], **prompts):
    table = scores(*(prompt(1, kind, **objects) for kind, objects in prompts.items()))
    return M.request_metrics(table, table, accuracy, success).iloc[0]


def test_efficacy_and_generalization_look_at_the_new_object():
    got = one(edit={"new": HIT, "true": LESS}, paraphrase={"new": MISS, "true": LESS})
    assert (got["eff_acc"], got["eff_succ"]) == (1, 1)
    assert (got["gen_acc"], got["gen_succ"]) == (0, 0)


def test_specificity_success_is_reversed():
    got = one(edit={"new": HIT, "true": LESS}, neighbor={"new": HIT, "true": LESS})
    assert got["spec_succ"] == 0
    got = one(edit={"new": HIT, "true": LESS}, neighbor={"new": MISS, "true": LESS})
    assert got["spec_succ"] == 1


def test_equal_log_probabilities_are_no_success_either_way():
    tie = {"new": ([5], [-2.0], [5]), "true": ([7], [-2.0], [5])}
    got = one(edit=tie, neighbor=tie)
    assert got["eff_succ"] == 0 and got["spec_succ"] == 0


def test_multi_token_accuracy_exact_and_token():
    partly = {"new": ([5, 6, 7, 8], [-1.0] * 4, [5, 6, 7, 9]), "true": LESS}
    assert one("exact", edit=partly)["eff_acc"] == 0
    assert one("token", edit=partly)["eff_acc"] == 0.75


def test_sum_and_mean_disagree_on_objects_of_different_length():
    # Summed, two tokens of -1.5 lose against one of -2; per token they win.
    pair = {"new": ([5, 6], [-1.5, -1.5], [0, 0]), "true": ([7], [-2.0], [0])}
    assert one(success="sum", edit=pair)["eff_succ"] == 0
    assert one(success="mean", edit=pair)["eff_succ"] == 1


def test_specificity_accuracy_is_agreement_with_the_unedited_argmax():
    edit = prompt(1, "edit", new=HIT, true=LESS)

    def neighbors(*said):
        return scores(
            edit,
            *(
                prompt(1, "neighbor", i, new=MISS, true=([7, 8], [-1.0, -1.0], list(argmax)))
                for i, argmax in enumerate(said)
            ),
        )

    before = neighbors((7, 8), (1, 2), (7, 8), (3, 4))
    after = neighbors((7, 8), (1, 2), (7, 9), (4, 4))
    got = M.request_metrics(after, before, *EXACT)
    # The second never said the truth, and still agrees; one differing token is a change.
    assert got["spec_acc"].tolist() == [0.5]
    shuffled = before.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(M.request_metrics(after, shuffled, *EXACT), got)
    assert np.isnan(M.request_metrics(before, None, *EXACT)["spec_acc"]).all()


def test_another_object_length_counts_as_a_change():
    edit = prompt(1, "edit", new=HIT, true=LESS)
    before = scores(edit, prompt(1, "neighbor", new=MISS, true=([7], [-1.0], [7])))
    after = scores(edit, prompt(1, "neighbor", new=MISS, true=([7, 8], [-1.0, -1.0], [7, 8])))
    assert M.request_metrics(after, before, *EXACT)["spec_acc"].tolist() == [0]


NOTHING = ([], [], [])


@pytest.mark.parametrize("success", ["sum", "mean"])
def test_an_object_without_tokens_is_never_the_likelier_one(success):
    """SPEC I19: an empty answer may have no tokens; the released code calls it minus infinity."""
    got = one(
        success=success,
        edit={"new": HIT, "true": NOTHING},
        neighbor={"new": ([5], [-30.0], [5]), "true": NOTHING},
    )
    assert got["eff_succ"] == 1 and got["spec_succ"] == 0
    # with nothing said before and after, nothing has changed
    assert got["spec_acc"] == 1
    edit = prompt(1, "edit", new=HIT, true=LESS)
    before = scores(edit, prompt(1, "neighbor", new=MISS, true=LESS))
    after = scores(edit, prompt(1, "neighbor", new=MISS, true=NOTHING))
    assert M.request_metrics(after, before, "exact", success)["spec_acc"].tolist() == [0]
    bad = scores(prompt(1, "edit", new=NOTHING, true=LESS))
    with pytest.raises(ValueError, match="those of o\\* not empty.*request 1, edit 0"):
        M.request_metrics(bad, None, *EXACT)


def own_tables(answer, now):
    """Unedited scores with the model put to its `answer` again, and edited ones that say `now`."""
    edit = prompt(1, "edit", new=HIT, true=LESS) + prompt(1, "paraphrase", new=HIT, true=LESS)
    neighbor = prompt(1, "neighbor", new=MISS, true=([7, 8], [-4.0, -4.0], [1, 2]))
    before = scores(edit, neighbor, [row(1, "self", 0, "own", *answer)])
    after = scores(edit, neighbor, [row(1, "neighbor", 0, "own", *now)])
    return before, after


def test_the_unedited_model_is_held_to_its_own_answers_too():
    """SPEC I19: what an edit that changes nothing would get, beside the dataset's success (F.2)."""
    same, other, longer = (
        ([1, 2], [-0.1] * 2, [1, 2]),
        ([1, 2], [-0.1] * 2, [1, 3]),
        ([1], [-1], [1]),
    )
    for answer, agrees in ((same, 1), (other, 0), (longer, 0)):
        before, after = own_tables(answer, answer)
        zero = M.request_metrics(before, None, *EXACT)
        edited = M.request_metrics(after, before, *EXACT)
        assert zero["spec_acc"].tolist() == edited["spec_acc"].tolist() == [agrees]
        assert zero["spec_succ"].tolist() == [0] and edited["spec_succ"].tolist() == [1]
    # An edited model is compared with what was said at the dataset's object, not said again.
    before, after = own_tables(other, same)
    assert M.request_metrics(after, before, *EXACT)["spec_acc"].tolist() == [1]
    # Answers of some neighbors only cannot be what the scores were made with.
    two = scores(prompt(1, "neighbor", 1, new=MISS, true=LESS))
    with pytest.raises(ValueError, match="scores of own answers: the neighbor .*score them again"):
        M.request_metrics(pd.concat([before, two]), None, *EXACT)


def test_a_ceiling_enters_no_score_however_trials_are_averaged():
    before, after = own_tables(([1, 2], [-0.1] * 2, [1, 2]), ([1, 2], [-0.1] * 2, [1, 2]))
    logs = {1: edits([1.0], [1.5], [100.0])}
    got = run_metrics({0: before, 1: after}, logs)
    assert got["spec_acc"].tolist() == [1, 1]
    assert math.isnan(got["score_acc"][0]) and got["score_succ"][0] == 0
    for how in ("mean_of_scores", "mean_of_rounded_scores", "hm_of_means"):
        mean = A.by_iteration(got, averaging(TRIAL, trial_agg=how)).set_index("k")["score_acc"]
        assert math.isnan(mean[0]) and mean[1] == 1


def test_specificity_is_rounded_as_the_released_code_rounds():
    """numpy's 0.505 is a tie that goes to the even 0.50, Python's lies above it (SPEC F.3)."""
    neighbors = [
        prompt(1, "neighbor", i, new=LESS, true=HIT if i < 101 else MISS) for i in range(200)
    ]
    table = scores(prompt(1, "edit", new=HIT, true=LESS), *neighbors)
    got = run_metrics({0: table}, {}, round_specificity=2)
    assert M.request_metrics(table, None, *EXACT)["spec_succ"][0] == 0.505
    assert got["spec_succ"][0] == 0.5


def test_a_request_averages_its_prompts_and_may_lack_a_kind():
    table = scores(
        prompt(4, "edit", new=HIT, true=LESS),
        prompt(4, "paraphrase", 0, new=HIT, true=LESS),
        prompt(4, "paraphrase", 1, new=MISS, true=LESS),
        prompt(2, "edit", new=MISS, true=LESS),
    )
    got = M.request_metrics(table, table, *EXACT)
    assert got["request"].tolist() == [2, 4]
    assert got["gen_acc"].tolist()[1] == 0.5 and math.isnan(got["gen_acc"][0])
    assert got["spec_acc"].isna().all()
    assert M.underedit(got) == [2]


def test_a_collapsed_model_has_no_success():
    nan = ([5], [math.nan], [0])
    got = one(edit={"new": nan, "true": nan}, neighbor={"new": nan, "true": nan})
    assert got["eff_succ"] == 0 and got["spec_succ"] == 0


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (lambda: scores([row(1, "edit", 0, "new", *HIT)]), "'new' and 'true'"),
        (lambda: scores(prompt(1, "edit", new=HIT, true=LESS) * 2), "occurs twice"),
        (lambda: scores(prompt(1, "edit", new=([5, 6], [-1.0], [5]), true=LESS)), "equally long"),
        (lambda: scores(prompt(1, "paraphrase", new=HIT, true=LESS)), "kind 'edit'"),
        (lambda: scores(), "no edit"),
    ],
)
def test_incomplete_scores_are_refused(table, message):
    with pytest.raises(ValueError, match=message):
        M.request_metrics(table(), None, *EXACT)


def test_missing_unedited_neighbor_is_refused():
    edit = prompt(1, "edit", new=HIT, true=LESS)
    after = scores(edit, prompt(1, "neighbor", new=HIT, true=LESS))
    with pytest.raises(ValueError, match="unedited.*missing"):
        M.request_metrics(after, scores(edit), *EXACT)


def test_unknown_options_are_named():
    table = scores(prompt(1, "edit", new=HIT, true=LESS))
    with pytest.raises(ValueError, match="accuracy: 'fuzzy'"):
        M.request_metrics(table, None, "fuzzy", "sum")
    with pytest.raises(ValueError, match="success: 'max'"):
        M.request_metrics(table, None, "exact", "max")


def test_vectorised_metrics_equal_a_plain_loop():
    rng = np.random.default_rng(0)
    before = random_scores(rng, 12)
    # The same objects, but another model that says something else here and there.
    after = before.assign(
        logprobs=[-rng.exponential(2, len(ids)) for ids in before["logprobs"]],
        argmax=[np.where(rng.random(len(a)) < 0.8, a, 99) for a in before["argmax"]],
    )
    got = M.request_metrics(after, before, "token", "mean").set_index("request")
    for request, rows in after[after["kind"] != "text"].groupby("request"):
        expected = {}
        for name, kind in (("eff", "edit"), ("gen", "paraphrase"), ("spec", "neighbor")):
            acc, succ = [], []
            for index, pair in rows[rows["kind"] == kind].groupby("index"):
                new = pair[pair["object"] == "new"].iloc[0]
                true = pair[pair["object"] == "true"].iloc[0]
                wins = np.mean(new["logprobs"]) > np.mean(true["logprobs"])
                if kind == "neighbor":
                    same = (before["request"] == request) & (before["kind"] == kind)
                    same &= (before["index"] == index) & (before["object"] == "true")
                    acc.append(list(before[same].iloc[0]["argmax"]) == list(true["argmax"]))
                    wins = np.mean(true["logprobs"]) > np.mean(new["logprobs"])
                else:
                    acc.append(np.mean(np.equal(new["token_ids"], new["argmax"])))
                succ.append(wins)
            expected[f"{name}_acc"], expected[f"{name}_succ"] = np.mean(acc), np.mean(succ)
        assert got.loc[request].to_dict() == pytest.approx(expected)


def test_scores_survive_parquet(tmp_path):
    table = random_scores(np.random.default_rng(1), 3)
    path = tmp_path / "scores.parquet"
    pq.write_table(pa.Table.from_pandas(table, schema=SCHEMA, preserve_index=False), path)
    read = M.read_scores(path)
    pd.testing.assert_frame_equal(
        M.request_metrics(read, read, *EXACT),
        M.request_metrics(table, table, *EXACT),
        check_exact=True,
    )
    assert M.me_perplexity(read) == pytest.approx(M.me_perplexity(table), rel=1e-6)
    pq.write_table(pa.table({"request": [1]}), path)
    with pytest.raises(ValueError, match=r"scores\.parquet: missing columns"):
        M.read_scores(path)


def test_a_run_of_a_thousand_requests_takes_seconds(tmp_path):
    rng = np.random.default_rng(2)
    path = tmp_path / "scores.parquet"
    table = random_scores(rng, 100)
    big = pd.concat([table.assign(request=table["request"] + 1000 * i) for i in range(10)])
    pq.write_table(pa.Table.from_pandas(big, schema=SCHEMA, preserve_index=False), path)
    read = M.read_scores(path)
    assert len(M.request_metrics(read, read, *EXACT)) == 1000
    start = time.process_time()
    M.request_metrics(read, read, *EXACT)
    assert time.process_time() - start < 2.0


# ---- ME-PPL and the harmonic mean


def test_me_perplexity_divides_by_all_ids():
    table = scores(
        [row(0, "text", 0, "", [1, 2, 3], [-1.0, -2.0], [])],
        [row(1, "text", 0, "", [1, 2], [-4.0], [])],
    )
    assert M.me_perplexity(table) == pytest.approx((math.exp(1.0) + math.exp(2.0)) / 2)


@pytest.mark.parametrize("bad", [math.nan, -math.inf, -1e9])
def test_me_perplexity_of_a_collapsed_model_is_infinite(bad):
    table = scores([row(0, "text", 0, "", [1, 2, 3], [-1.0, bad], [])])
    assert M.me_perplexity(table) == math.inf


def test_me_perplexity_without_texts_is_missing():
    assert math.isnan(M.me_perplexity(scores(prompt(1, "edit", new=HIT, true=LESS))))


def test_harmonic_mean_of_published_cells():
    # ROME on GPT-2 XL, CounterFact, k = 1 prints 1% from (1, 1, 0); SPEC F.4.
    assert M.harmonic_mean([0.01, 0.01, 0.0], "drop") == pytest.approx(0.01)
    assert M.harmonic_mean([0.01, 0.01, 0.0], "keep") == 0
    assert M.harmonic_mean([0, 0, 0], "drop") == 0
    assert M.harmonic_mean([0.99, 0.38, 0.52], "keep") == pytest.approx(0.54, abs=0.005)
    assert math.isnan(M.harmonic_mean([0.5, math.nan, 0.0], "keep"))
    for bad in ([], [-0.1, 0.5]):
        with pytest.raises(ValueError, match="non-negative"):
            M.harmonic_mean(bad, "keep")
    with pytest.raises(ValueError, match="zeros"):
        M.harmonic_mean([1], "true")


fractions = st.lists(st.floats(0, 1), min_size=1, max_size=5)


@given(fractions)
def test_harmonic_mean_is_bounded_and_symmetric(values):
    mean = M.harmonic_mean(values, "keep")
    assert mean == pytest.approx(M.harmonic_mean(values[::-1], "keep"))
    assert min(values) * (1 - 1e-9) <= mean <= np.mean(values) * (1 + 1e-9) + 1e-300
    assert M.harmonic_mean(values, "drop") >= mean


# ---- one run


def run_metrics(tables, logs, **changed):
    """Metrics of a run of MEMIT under the corrected preset, or what is changed of it."""
    scoring = replace(CORRECTED_SCORING, **changed)
    run = RunKey("d", "m", "MEMIT", 1)
    return made_tables.run_metrics(tables, logs, run=run, scoring=scoring, sequential=False)


def run_tables():
    before = scores(
        prompt(0, "edit", new=MISS, true=LESS),
        prompt(0, "paraphrase", new=MISS, true=LESS),
        prompt(0, "neighbor", new=MISS, true=LESS),
        prompt(1, "edit", new=MISS, true=LESS),
        prompt(1, "paraphrase", new=MISS, true=LESS),
        prompt(1, "neighbor", new=MISS, true=LESS),
        [row(0, "text", 0, "", [1, 2], [-2.0], [])],
    )
    after = before.copy()
    after.loc[0] = row(0, "edit", 0, "new", *HIT)
    after.loc[2] = row(0, "paraphrase", 0, "new", *HIT)
    return before, after


def test_run_metrics_rows_and_columns():
    before, after = run_tables()
    logs = {1: edits([1.0, 2.0], [11.0, 22.0]), 2: edits([1.0, 1.0], [1.5, 1.5])}
    got = run_metrics({0: before, 1: after, 2: after}, logs)
    assert tuple(got.columns) == M.COLUMNS
    assert got["k"].tolist() == [0, 1, 2] and got["n_requests"].tolist() == [2, 2, 2]
    assert got["eff_acc"].tolist() == [0, 0.5, 0.5]
    assert got["spec_acc"].tolist()[1:] == [1, 1]
    assert got["score_acc"].tolist()[1] == pytest.approx(3 / (2 + 2 + 1))
    assert got["me_ppl"].tolist() == pytest.approx([math.e] * 3)
    assert got["p_hat"].tolist() == [200.0, 16.5, 1.5]
    assert got["p_bar"].tolist()[1:] == [1.5, 1.0]
    # Row 0 leaves what is not defined; the change from the unedited model is not a dp2.
    assert got.loc[0, ["spec_acc", "score_acc", "p_bar", "dp", "dp2"]].isna().all()
    assert got["dp"].tolist()[1:] == [15.0, 0.5]
    assert math.isnan(got["dp2"][1]) and got["dp2"][2] == 15.0
    legacy = run_metrics({0: before, 1: after}, logs, perplexity="legacy")
    assert legacy["p_hat"].tolist() == [50.0, 8.25]


def test_dp_is_the_difference_of_means_not_the_mean_difference():
    before, after = run_tables()
    got = run_metrics({0: before, 1: after}, {1: edits([1.0, 5.0], [5.0, 1.0])})
    assert got["dp"][1] == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf, None])
def test_a_mean_over_edits_leaves_no_edit_out(bad):
    assert M.mean_perplexity([1.5] * 999 + [bad]) == math.inf
    assert M.mean_perplexity(pd.Series([1.5] * 999 + [bad], dtype=float)) == math.inf


def test_mean_perplexity():
    assert M.mean_perplexity(np.array([1.0, 2.0, 6.0])) == 3.0
    assert M.mean_perplexity([1e308, 1e308]) == math.inf
    assert math.isnan(M.mean_perplexity([]))


def test_distance_of_perplexities():
    inf, nan = math.inf, math.nan
    a, b = [3, 1, inf, inf, 1, nan, inf], [1, 3, 1, inf, inf, 1, nan]
    np.testing.assert_array_equal(M.distance(a, b), [2, 2, inf, inf, inf, nan, nan])


def test_collapse_is_infinite_and_never_missing():
    before, after = run_tables()
    got = run_metrics({0: before, 1: after}, {1: edits([1.0, 1.0], [1.0, math.nan])})
    assert got["p_hat"][1] == math.inf and got["dp"][1] == math.inf
    assert pd.isna(A.pick_table(got, Rule("trial"))["proposed"][0])


def test_iterations_after_the_stop_are_left_out():
    before, after = run_tables()
    logs = {1: edits([1.0, 1.0], [1.0, 1.0]), 2: edits([1.0, 1.0], [1.0, 1.0]).iloc[:0]}
    got = run_metrics({0: before, 1: after, 2: after.iloc[:0]}, logs)
    assert got["k"].tolist() == [0, 1]


def test_rounding_specificity_first_moves_the_score():
    before, after = run_tables()
    rows = [r for i in range(3) for r in prompt(0, "neighbor", i, new=MISS, true=LESS)]
    before = pd.concat([before[before["kind"] != "neighbor"], pd.DataFrame(rows)])
    changed = before.copy().reset_index(drop=True)
    where = changed[(changed["kind"] == "neighbor") & (changed["object"] == "true")].index[0]
    changed.at[where, "argmax"] = [9]
    changed.at[0, "argmax"] = [5]
    logs = {1: edits([1.0, 1.0], [1.0, 1.0])}
    exact = run_metrics({0: before, 1: changed}, logs)
    rounded = run_metrics({0: before, 1: changed}, logs, round_specificity=2)
    assert exact["spec_acc"][1] == pytest.approx(2 / 3) and rounded["spec_acc"][1] == 0.67


@pytest.mark.parametrize("ks", [(1, 2), (0, 2), (0, 1, 3)])
def test_a_broken_chain_is_refused(ks):
    before, after = run_tables()
    logs = {k: edits([1.0, 1.0], [1.0, 1.0]) for k in ks}
    with pytest.raises(ValueError, match="d/m/MEMIT/trial1"):
        run_metrics({k: after for k in ks}, logs)


# ---- many runs


def run_frame(dp, trial=1, method="MEMIT", score=0.5, **fixed):
    """A run of len(dp) iterations whose values are easy to follow."""
    rows = []
    for k, value in enumerate([math.nan, *dp]):
        row = dict.fromkeys(M.METRICS, score) | {"me_ppl": 30.0 + k, "p_bar": 1.0, "dp": value}
        row |= {"p_hat": 1.0 + value if k else 1000.0, "eff_acc": k / 10, "n_requests": 24, "k": k}
        row |= {"dataset": "d", "model": "m", "method": method, "trial": trial} | fixed
        rows.append(row)
    rows[0] |= dict.fromkeys(("spec_acc", "score_acc", "p_bar", "dp2"), math.nan)
    rows[1] |= {"dp2": math.nan}
    for before, row in pairwise(rows[1:]):
        row["dp2"] = abs(row["p_hat"] - before["p_hat"])
    return pd.DataFrame(rows, columns=list(M.COLUMNS))


def test_metrics_csv_round_trip(tmp_path):
    frame = run_frame([3.0, 0.1 + 0.2], model="NA", dataset="001")
    frame.loc[1, "p_hat"] = math.inf
    frame.to_csv(tmp_path / "a.csv", index=False)
    read = A.read_metrics(tmp_path / "a.csv")
    pd.testing.assert_frame_equal(read, frame, check_dtype=False, check_exact=True)
    with pytest.raises(ValueError, match="occurs twice"):
        A.read_metrics([tmp_path / "a.csv", tmp_path / "a.csv"])
    frame.drop(columns="dp").to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(ValueError, match=r"b\.csv: missing columns \['dp'\]"):
        A.read_metrics(tmp_path / "b.csv")


def test_picks_are_per_run_and_nullable():
    frame = pd.concat(
        [run_frame([9.0, 0.5, 0.9]), run_frame([9.0, 7.0, 5.0], trial=2), run_frame([0.2], 3)]
    ).sample(frac=1, random_state=1)
    got = A.pick_table(frame, Rule("trial")).sort_values("trial")
    assert got["proposed"].tolist() == [2, pd.NA, 1]
    assert got["monotonic"].tolist() == [2, pd.NA, pd.NA]
    assert got["small_change"].tolist() == [3, pd.NA, pd.NA]
    assert str(got["proposed"].dtype) == "Int64"
    assert A.pick_table(frame, Rule("trial", 8.0)).sort_values("trial")["proposed"].tolist() == [
        2,
        2,
        1,
    ]


def test_by_iteration_carries_stopped_trials_forward():
    frame = pd.concat([run_frame([9.0, 0.5]), run_frame([9.0, 7.0, 5.0, 0.1], trial=2)])
    got = A.by_iteration(frame, averaging(TRIAL))
    assert got["k"].tolist() == [0, 1, 2, 3, 4]
    assert got["n_stopped"].tolist() == [0, 0, 0, 1, 1]
    assert got["n_trials"].tolist() == [2] * 5
    assert got["eff_acc"].tolist() == pytest.approx([0, 0.1, 0.2, 0.25, 0.3])
    assert got["dp"].tolist()[1:] == pytest.approx([9.0, 3.75, 2.75, 0.3])
    assert got["eff_acc_sd"].tolist()[3] == pytest.approx(np.std([0.2, 0.3], ddof=1))
    # What row 0 does not define stays undefined, in each trial and on average.
    assert math.isnan(got["spec_acc"][0]) and math.isnan(got["dp"][0])


def test_at_stop_takes_each_trials_own_stop():
    frame = pd.concat(
        [
            run_frame([9.0, 0.5, 0.4]),
            run_frame([9.0, 7.0, 5.0, 0.1], trial=2),
            run_frame([9.0, 7.0], trial=1, method="PMET"),
        ]
    )
    got = A.at_stop(frame, averaging(Rule("trial"))).set_index("method")
    assert got.loc["MEMIT", "k_text"] == "2–4" and got.loc["MEMIT", "k"] == 3
    assert got.loc["MEMIT", "eff_acc"] == pytest.approx((0.2 + 0.4) / 2)
    assert got.loc["MEMIT", "met"] and not got.loc["PMET", "met"]
    assert got.loc["PMET", "k_text"] == "2" and got.loc["PMET", "dp"] == 7.0
    assert math.isnan(got.loc["PMET", "eff_acc_sd"])
    # On trial means the rule is met later: (0.4 + 5) / 2 > 1, (0.4 + 0.1) / 2 <= 1.
    mean = A.at_stop(frame, averaging(Rule("mean"))).set_index("method")
    assert mean.loc["MEMIT", "k_text"] == "4" and mean.loc["MEMIT", "met"]
    assert mean.loc["PMET", "k_text"] == "2" and not mean.loc["PMET", "met"]


def test_infinite_values_stay_infinite_over_trials():
    frame = pd.concat([run_frame([9.0, math.inf]), run_frame([9.0, 7.0], trial=2)])
    frame.loc[(frame["k"] == 2) & (frame["trial"] == 1), "me_ppl"] = math.inf
    got = A.by_iteration(frame, averaging(TRIAL)).set_index("k")
    assert got.loc[2, "dp"] == math.inf and got.loc[2, "me_ppl"] == math.inf


def with_p(trial, *pairs):
    """A run from the (p_bar, p_hat) of k = 1, 2, ..."""
    frame = run_frame([0.0] * len(pairs), trial=trial)
    frame.loc[1:, ["p_bar", "p_hat"]] = pairs
    frame["dp"] = M.distance(frame["p_hat"], frame["p_bar"])
    frame["dp2"] = M.distance(frame["p_hat"], frame["p_hat"].shift())
    frame.loc[:1, "dp2"] = math.nan
    return frame


def test_the_difference_of_a_row_is_that_of_its_own_means():
    """SPEC C.2: the printed |dp| is |p_hat - p_bar| of the same row, whatever the trials' signs."""
    pairs = {1: (1e5, 8.372e5), 2: (1e5, 8.37e5), 3: (9e5, 1.63e5)}
    frame = pd.concat(with_p(trial, pair, (1.0, 2.0 + trial)) for trial, pair in pairs.items())
    rows = A.by_iteration(frame, averaging(TRIAL)).set_index("k")
    own = [abs(p_hat - p_bar) for p_bar, p_hat in pairs.values()]
    assert rows.loc[1, "dp"] == abs(rows.loc[1, "p_hat"] - rows.loc[1, "p_bar"]) < np.mean(own) / 2
    assert rows.loc[1, "dp_sd"] == pytest.approx(np.std(own, ddof=1))
    assert rows.loc[2, "dp2"] == pytest.approx(abs(rows.loc[2, "p_hat"] - rows.loc[1, "p_hat"]))
    assert math.isnan(rows.loc[1, "dp2"])  # the change from the unedited model is none
    stop = A.at_stop(frame, averaging(Rule("trial", 1e6))).iloc[0]
    assert stop["k"] == 1 and stop["dp"] == rows.loc[1, "dp"]


def test_the_change_of_a_row_is_that_of_its_own_means():
    """Trials that rise and fall by 10 do not move the mean; one that has stopped does not move."""
    frame = pd.concat(
        [
            with_p(1, (1, 50), (1, 60), (1, 1.5)),
            with_p(2, (1, 50), (1, 40)),
            with_p(3, (1, 50), (1, 51)),
        ]
    )
    rows = A.by_iteration(frame, averaging(TRIAL)).set_index("k")
    assert rows.loc[2, "dp2"] == pytest.approx(1 / 3)
    assert rows.loc[2, "dp2_sd"] == pytest.approx(np.std([10, 10, 1], ddof=1))
    assert rows.loc[3, "dp2"] == pytest.approx(58.5 / 3)
    # At their own last iterations, 3, 2 and 2, each against its own iteration before.
    stop = A.at_stop(frame, averaging(Rule("trial", 0.6))).iloc[0]
    before, after = np.mean([60, 50, 50]), np.mean([1.5, 40, 51])
    assert stop["k_text"] == "2–3" and stop["dp2"] == pytest.approx(abs(after - before))


def test_no_trial_is_left_out_of_a_mean():
    frame = pd.concat([with_p(1, (1, 2), (1, 1.5)), with_p(2, (1, 2), (1, 1.5))])
    frame.loc[(frame["trial"] == 2) & (frame["k"] == 2), ["p_hat", "dp", "dp2"]] = math.nan
    frame.loc[(frame["trial"] == 2) & (frame["k"] == 2), "me_ppl"] = math.inf
    frame.loc[(frame["trial"] == 1) & (frame["k"] == 1), "gen_acc"] = math.nan
    rows = A.by_iteration(frame, averaging(TRIAL)).set_index("k")
    assert rows.loc[2, ["p_hat", "dp", "dp2", "p_hat_sd", "dp_sd"]].isna().all()
    assert rows.loc[2, "me_ppl"] == math.inf and rows.loc[2, "p_bar"] == 1
    assert math.isnan(rows.loc[1, "gen_acc"]) and rows.loc[1, "eff_acc"] == pytest.approx(0.1)


def test_trial_aggregations_differ_as_named():
    parts = [(0.904, 0.5, 0.2, 0.354), (1.0, 0.9, 0.6, 0.798), (0.5, 0.7, 0.9, 0.668)]
    rows = []
    for trial, (eff, gen, spec, score) in enumerate(parts, start=1):
        frame = run_frame([0.5], trial=trial)
        frame.loc[1, ["eff_acc", "gen_acc", "spec_acc", "score_acc"]] = eff, gen, spec, score
        rows.append(frame)
    frame = pd.concat(rows)

    def score(k=1, **options):
        return A.by_iteration(frame, averaging(TRIAL, **options)).set_index("k").loc[k]

    assert score()["score_acc"] == pytest.approx(np.mean([0.354, 0.798, 0.668]))
    rounded = score(trial_agg="mean_of_rounded_scores")
    assert rounded["score_acc"] == pytest.approx(np.mean([0.35, 0.80, 0.67]))
    assert rounded["eff_acc"] == pytest.approx(np.mean([0.904, 1.0, 0.5]))
    means = np.mean([p[:3] for p in parts], axis=0)
    of_means = score(trial_agg="hm_of_means")["score_acc"]
    assert of_means == pytest.approx(M.harmonic_mean(means, "keep"))
    assert score(round_per_trial=2)["eff_acc"] == pytest.approx(np.mean([0.90, 1.0, 0.5]))
    assert math.isnan(score(k=0, trial_agg="hm_of_means")["score_acc"])
    with pytest.raises(ValueError, match="trial_agg: 'median'"):
        averaging(TRIAL, trial_agg="median")
    with pytest.raises(ValueError, match="zeros: 'none'"):
        averaging(TRIAL, zeros="none")


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_carrying_forward_ends_at_the_last_rows(lengths):
    frame = pd.concat([run_frame([2.0] * n, trial=t) for t, n in enumerate(lengths)])
    last = A.by_iteration(frame, averaging(TRIAL)).iloc[-1]
    assert last["k"] == max(lengths)
    assert last["eff_acc"] == pytest.approx(np.mean(lengths) / 10)
    assert last["n_stopped"] == sum(n < max(lengths) for n in lengths)


@pytest.mark.parametrize("name", ["accuracy", "success", "zeros", "perplexity"])
def test_an_unknown_switch_is_named(name):
    with pytest.raises(ValueError, match=f"{name}: 'none' is none of"):
        replace(CORRECTED_SCORING, **{name: "none"})


# ---- the layer


@pytest.mark.parametrize(
    "module",
    [
        "study.stopping",
        "evaluation.metrics",
        "presentation.tables",
        "presentation.figures.underedit",
    ],
)
def test_needs_neither_torch_nor_transformers(module):
    code = (
        f"import sys, modeledit.{module};"
        "print([m for m in ('torch', 'transformers', 'matplotlib.pyplot') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"


def test_columns_and_headings_are_in_one_place():
    assert set(M.REQUEST_METRICS) | set(M.SCORES) == set(M.FRACTIONS)
    assert all(metric.heading and "SPEC" in metric.source for metric in M.METRICS.values())
