"""Published sequences of batches: as transcribed, and when ours may stand beside them."""

from dataclasses import replace

import pandas as pd
import pytest

from modeledit.evaluation.metrics import METRICS
from modeledit.paper import published
from modeledit.paper.comparison import DIFFERS, MATCH, NOT_COMPARABLE, NOT_RUN
from modeledit.paper.sequence_comparison import SEQUENCE_COMPARISON, Ours, compare_sequences
from tests.presets import CORRECTED

CELL = {"dataset": "counterfact", "model": "gpt-j-6b", "method": "AlphaEdit", "size": 100}
TOKENS = replace(CORRECTED, accuracy="token", specificity_gt="dataset")
SOURCES = {"counterfact": "counterfact", "zsre": "zsre"}


@pytest.fixture(scope="module")
def anchors():
    return published.read_sequences()


def ours(switches=TOKENS, sources=SOURCES, batches=20, iterations=1, **changed):
    """A sequence of 20 batches of 100 with the published values of AlphaEdit on GPT-J."""
    values = dict.fromkeys(METRICS, 0.5) | {"n_trials": 1, "group": "all"}
    values |= {"eff_succ": 0.9975, "gen_succ": 0.9638, "spec_succ": 0.7548}
    rows = [
        CELL
        | values
        | {"batch": b, "edits": 100 * b, "n_requests": 100 * b or 2000}
        | {"iterations": iterations if b else 0}
        | (changed if b else {"eff_succ": 0.17})
        for b in range(batches + 1)
    ]
    around = {"kind": "mean", "batch": 20, "group": "all", "metric": "eff_succ"}
    intervals = pd.DataFrame([CELL | around | {"low": 0.99, "high": 1.0}])
    return Ours(pd.DataFrame(rows), intervals, switches, sources)


def verdicts(found, method="AlphaEdit", dataset="counterfact"):
    rows = found[(found["model"] == "gpt-j-6b") & (found["dataset"] == dataset)]
    rows = rows[rows["method"] == method]
    return dict(zip(rows["metric"], rows["verdict"], strict=True))


def test_anchors_are_read_with_their_sources(anchors):
    assert len(anchors) == 20 and anchors["source"].nunique() == 3
    assert set(anchors["model"]) == set(published.SEQUENCE_MODELS)
    assert (anchors["size"] == 100).all() and (anchors["edits"] == 2000).all()
    keys = ["source", "dataset", "model", "method"]
    table = "arXiv:2410.02355, Table 1"
    cells = anchors.set_index(keys)
    at = cells.loc[(table, "counterfact", "llama-3-8b-instruct", "AlphaEdit")]
    assert at[["eff_succ", "gen_succ", "spec_succ"]].tolist() == [0.989, 0.9422, 0.6788]
    assert pd.isna(at["eff_acc"]) and at["fluency"] == "622.49"
    at = cells.loc[(table, "zsre", "gpt2-xl", "MEMIT")]
    assert at[["eff_acc", "gen_acc", "spec_acc"]].tolist() == [0.7917, 0.7144, 0.2642]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.replace("0.9890", "98.90"), "fractions are in 0 to 1"),
        (lambda t: t + t.splitlines()[1] + "\n", "occurs twice"),
    ],
)
def test_bad_anchors_are_refused(tmp_path, change, says):
    text = (published.FOLDER / "sequences.csv").read_text()
    (tmp_path / "sequences.csv").write_text(change(text))
    with pytest.raises(ValueError, match=says):
        published.read_sequences(tmp_path)


def test_without_comparable_sequences_every_anchor_is_not_run(anchors):
    small = ours()
    small = replace(small, means=small.means.assign(model="smollm2-135m"))
    found = compare_sequences(small, anchors)
    assert tuple(found.columns) == SEQUENCE_COMPARISON and len(found) == 3 * 20
    assert set(found["verdict"]) == {NOT_RUN}
    assert found[["ours", "difference", "low", "n_trials"]].isna().all(axis=None)


def test_a_sequence_of_the_same_kind_is_judged_by_the_tolerances(anchors):
    found = compare_sequences(ours(gen_succ=0.9338, spec_succ=0.7), anchors)
    expected = {"eff_succ": MATCH, "gen_succ": MATCH, "spec_succ": DIFFERS}
    assert verdicts(found) == expected
    row = found[(found["verdict"] == MATCH) & (found["method"] == "AlphaEdit")].iloc[0]
    assert (row["metric"], row["ours"], row["low"], row["high"]) == ("eff_succ", 0.9975, 0.99, 1)
    assert row["tolerance"] == "2 pp" and row["difference"] == pytest.approx(0)
    unedited = verdicts(found, "Unedited")  # 0.1622 is published
    assert unedited["eff_succ"] == MATCH and unedited["gen_succ"] == DIFFERS
    assert set(verdicts(found, "MEMIT").values()) == {NOT_RUN}
    others = found[found["model"] != "gpt-j-6b"]
    assert set(others["verdict"]) == {NOT_RUN}


@pytest.mark.parametrize(
    ("found", "verdict", "says"),
    [
        (ours(iterations=2), NOT_COMPARABLE, "up to 2 iterations"),
        (ours(batches=10), NOT_RUN, "ours have 1000 edits, 2000 are published"),
        (ours(sources={"counterfact": "geography"}), NOT_COMPARABLE, "comes from geography"),
        (ours(eff_succ=float("nan")), NOT_RUN, "not measured"),
    ],
)
def test_other_sequences_are_not_judged(anchors, found, verdict, says):
    rows = compare_sequences(found, anchors)
    row = rows[(rows["model"] == "gpt-j-6b") & (rows["method"] == "AlphaEdit")].iloc[0]
    assert row["verdict"] == verdict and says in row["reason"]


def test_what_is_measured_otherwise_is_not_judged(anchors):
    own = compare_sequences(ours(replace(TOKENS, specificity_gt="model_output")), anchors)
    assert verdicts(own) == {
        "eff_succ": MATCH,
        "gen_succ": MATCH,
        "spec_succ": NOT_COMPARABLE,
    }
    for accuracy, verdict in (("token", DIFFERS), ("exact", NOT_COMPARABLE)):
        zsre = ours(replace(TOKENS, accuracy=accuracy))
        zsre = replace(zsre, means=zsre.means.assign(dataset="zsre"))
        found = verdicts(compare_sequences(zsre, anchors), dataset="zsre")
        assert found == {"eff_acc": verdict, "gen_acc": verdict, "spec_acc": NOT_COMPARABLE}
