"""Claims where each holds, holds in part and fails, and on the paper's own rows."""

import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from modeledit.evaluation.metrics import COLUMNS, REQUEST_METRICS, RUN, harmonic_mean
from modeledit.paper import claims as C
from modeledit.paper import judging as V
from modeledit.paper.published import as_metrics
from modeledit.study.stopping import Rule
from tests.presets import CORRECTED, averaging
from tests.script_job import script_job

ROOT = Path(__file__).resolve().parents[2]
CLAIMS = {claim.id: claim for claim in C.CLAIMS}
GOOD, LATE, NEVER = [9, 0.5], [9, 8, 7, 6, 5, 0.5], [9, 8, 7]


TRIAL = Rule("trial")


def check(claim, metrics, requests=None, rule=TRIAL, names=None):
    data = V.Data(metrics, requests, averaging=averaging(rule), names=names)
    return CLAIMS[claim].verdict(data)


def run(method="MEMIT", eff=(0.5, 0.9), gen=0.5, spec=0.5, *, dp=GOOD, p_hat=None, p_bar=1.0,
        ppl=50.0, model="gpt-j-6b", dataset="counterfact", trial=1):  # fmt: skip
    """Metrics of one run; a value is that of k = 1 and the last iteration, or of every one."""
    n = len(dp)

    def series(value):
        steps = [value] * n if np.isscalar(value) else list(value)
        return steps + [steps[-1]] * (n - len(steps))

    rows = []
    columns = {name: series(v) for name, v in (("eff", eff), ("gen", gen), ("spec", spec))}
    hats = [1000.0, *(p_hat or (1 + d for d in dp))]
    for k in range(n + 1):
        row = dict(zip(RUN, (dataset, model, method, trial), strict=True))
        row |= {"k": k, "n_requests": 10, "me_ppl": 50.0 if k == 0 else series(ppl)[k - 1]}
        row |= {"p_hat": hats[k]}
        if k:
            values = [columns[name][k - 1] for name in ("eff", "gen", "spec")]
            row |= dict(zip(("eff_acc", "gen_acc", "spec_acc"), values, strict=True))
            row |= {"score_acc": harmonic_mean(values, "keep"), "p_bar": series(p_bar)[k - 1]}
            row |= {"dp": dp[k - 1]}
        rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def pair(name="NA_MEMIT", plain=None, model="gpt-j-6b", dataset="counterfact-eligible", **own):
    """A neighbor-assisted run and its plain one; ``plain`` overrides what it shares."""
    where = {"model": model, "dataset": dataset}
    return [run(name, **where, **own), run(name.split("_")[-1], **where, **(own | (plain or {})))]


def triple(plain, prefixed, bare, model="gpt2-xl"):
    """Specificity of MEMIT, NAP_MEMIT and NA_MEMIT."""
    names = ("MEMIT", "NAP_MEMIT", "NA_MEMIT")
    return [
        run(name, spec=spec, model=model)
        for name, spec in zip(names, (plain, prefixed, bare), strict=True)
    ]


UP, DOWN = {"eff": (0.5, 0.9)}, {"eff": (0.9, 0.5)}
XL = {"model": "gpt2-xl", "method": "PMET"}
LLAMA = {"model": "llama-2-7b"}
HOLDS, PART, FAILS, NOT_RUN = V.HOLDS, V.IN_PART, V.FAILS, V.NOT_RUN
# Each claim with runs for which it holds, holds in part or does not hold, or says nothing.
CASES = [
    ("spread-repairs", HOLDS, [run(p_hat=[90, 2], p_bar=(44, 1)), run("ROME", p_hat=[90, 95])]),
    ("spread-repairs", PART, [run(p_hat=[np.inf, 2]), run("PMET", p_hat=[90, 2], p_bar=(46, 1))]),
    ("spread-repairs", FAILS, [run(p_hat=[90, 2], p_bar=(1, 99))]),  # a target that gets worse
    ("spread-repairs", FAILS, [run(p_hat=[np.inf, 2], p_bar=(np.inf, 1))]),
    ("spread-repairs", NOT_RUN, [run(p_hat=[90, 90]), run("ROME", p_hat=[np.inf, np.inf]),
                                 run("PMET", p_hat=[90, 2], p_bar=(np.nan, 1))]),
    ("pmet-precise", HOLDS, [run(spec=0.6), run("PMET", spec=(0.1, 0.7)), run("ROME", spec=0.9)]),
    ("pmet-precise", PART, [run(spec=0.6), run("PMET", spec=0.7), run(model="gpt2-xl"),
                            run("PMET", model="gpt2-xl")]),
    ("pmet-precise", FAILS, [run(spec=0.6), run("PMET", spec=(0.9, 0.5))]),
    ("pmet-precise", NOT_RUN, [run(), run("PMET", dataset="zsre"), run("NA_PMET")]),
    ("pmet-stronger", HOLDS, [run(eff=0.6, gen=0.2), run("PMET", eff=0.7, gen=0.3)]),
    ("pmet-stronger", PART, [run(eff=0.6, gen=0.2), run("PMET", eff=0.7, gen=0.1)]),
    ("pmet-stronger", FAILS, [run(eff=0.6, gen=0.2), run("PMET", eff=0.6, gen=0.1)]),
    ("score-rises", HOLDS, [run(**UP), run("PMET", **UP), run("ROME", **DOWN)]),
    ("score-rises", PART, [run(**UP), run("PMET", **DOWN), run("ROME", **DOWN)]),
    ("score-rises", FAILS, [run(**DOWN), run("PMET", eff=0.5)]),
    ("score-rises", NOT_RUN, [run(eff=0.9, dp=[0.5]), *pair(dp=[0.5])]),
    ("stop-beats-once", HOLDS, [run(**UP), run("ROME", **DOWN, dp=NEVER)]),
    ("stop-beats-once", PART, [run(**UP), run("PMET", **DOWN)]),
    ("stop-beats-once", FAILS, [run(**DOWN)]),
    ("gain-parts", HOLDS, [run(gen=(0.2, 0.4), **UP), run("PMET", **DOWN)]),
    ("gain-parts", PART, [run(gen=0.5, **UP)]),
    ("gain-parts", FAILS, [run(eff=0.9, gen=0.9, spec=(0.2, 0.6))]),
    ("largest-gains", HOLDS, [run(eff=(0.22, 0.99), gen=(0.03, 0.25), spec=(0.92, 0.75), **XL)]),
    ("largest-gains", PART, [run(eff=(0.22, 0.99), gen=0.5, **XL)]),
    ("largest-gains", FAILS, [run(eff=(0.5, 0.6), **XL)]),
    ("largest-gains", NOT_RUN, [run(eff=(0.22, 0.99), **(XL | LLAMA))]),
    ("dp-falls", HOLDS, [run(), run("PMET"), run("ROME", dp=[9, 10, 0.5])]),
    ("dp-falls", PART, [run(), run("ROME", dp=[9, 10, 0.5])]),
    ("dp-falls", HOLDS, [run(dp=[9, 0.5, 70, 80])]),  # after the stop nothing counts
    ("dp-falls", FAILS, [run(dp=[np.inf, np.inf, 0.5])]),
    ("always-halts", HOLDS, [run(), run("PMET", dp=LATE), *pair(dp=NEVER, plain={"dp": GOOD})]),
    ("always-halts", FAILS, [run(), run("PMET", dp=NEVER)]),
    ("specificity-falls", HOLDS, [run(spec=(0.9, 0.5)), run("PMET", spec=(0.5, 0.9))]),
    ("specificity-falls", FAILS, [run(), run("PMET", spec=(0.5, 0.9))]),
    ("score-outweighs", HOLDS, [run(eff=(0.1, 0.9), spec=(0.9, 0.8)), run("ROME", **DOWN)]),
    ("score-outweighs", PART, [run(eff=(0.1, 0.9), spec=(0.9, 0.8)), run("PMET", spec=(0.9, 0.1))]),
    ("score-outweighs", FAILS, [run(spec=(0.9, 0.1))]),
    ("rome-collapses", HOLDS, [run("ROME", ppl=(99, np.inf)), run()]),
    ("rome-collapses", PART, [run("ROME", ppl=1001), run("ROME", ppl=1000, model="gpt2-xl")]),
    ("rome-collapses", FAILS, [run("ROME", ppl=1000)]),
    ("gpt-stable", HOLDS, [run(), run("ROME", ppl=1e9), run(ppl=1e9, **LLAMA)]),
    ("gpt-stable", FAILS, [run(), run("PMET", ppl=(50, 2000))]),
    ("llama-memit", HOLDS, [run(ppl=(42, 9370), **LLAMA), run("PMET", **LLAMA)]),
    ("llama-memit", PART, [run(**LLAMA), run("PMET", **LLAMA)]),
    ("llama-memit", FAILS, [run(**LLAMA), run("PMET", ppl=2000, **LLAMA)]),
    ("pmet-slow", HOLDS, [run(dp=LATE, **XL)]),
    ("pmet-slow", PART, [run(dp=LATE, **XL), run(dp=GOOD, dataset="zsre", **XL)]),
    ("pmet-slow", FAILS, [run(dp=GOOD, **XL)]),
    ("pmet-slow", NOT_RUN, [run(dp=NEVER, **XL), run(dp=LATE)]),  # 3 iterations show nothing
    ("neighbor-specificity", HOLDS, pair(spec=0.8, plain={"spec": 0.5})),
    ("neighbor-specificity", PART, pair(spec=0.8, plain={"spec": 0.5}) + pair("NA_PMET")),
    ("neighbor-specificity", FAILS, pair(spec=0.5)),
    ("neighbor-specificity", NOT_RUN, [run(), run("NA_MEMIT", model="gpt2-xl"), *pair("NAP_PMET")]),
    ("neighbor-specificity", NOT_RUN, pair("NA_ROME")),  # not in the paper (arXiv:2503.11895)
    ("neighbor-every-k", HOLDS, pair(spec=(0.9, 0.8), plain={"spec": (0.6, 0.5)})),
    ("neighbor-every-k", PART, pair(spec=0.8, plain={"spec": 0.5}) + pair("NA_PMET")),
    ("neighbor-every-k", FAILS, pair(spec=(0.9, 0.4), plain={"spec": 0.5})),
    ("neighbor-score", HOLDS, pair(spec=0.8, plain={"spec": 0.5})),
    ("neighbor-score", PART, pair(spec=0.8, plain={"spec": 0.5}) + pair("NA_PMET")),
    ("neighbor-score", FAILS, pair(spec=0.8, eff=0.1, plain={"spec": 0.5, "eff": 0.9})),
    ("neighbor-generalization", HOLDS, pair(gen=0.4, plain={"gen": 0.5})),
    ("neighbor-generalization", PART, pair(gen=0.4, plain={"gen": 0.5}) + pair("NA_PMET")),
    ("neighbor-generalization", FAILS, pair()),
    ("neighbor-efficacy", HOLDS, pair(eff=0.9, plain={"eff": 0.8})),
    ("neighbor-efficacy", PART, pair(eff=0.9, plain={"eff": 0.8}) + pair("NA_PMET")),
    ("neighbor-efficacy", FAILS, pair(eff=0.9)),
    ("neighbor-efficacy-stays", HOLDS, pair(eff=0.97, plain={"eff": 0.99})),
    ("neighbor-efficacy-stays", PART, pair(eff=0.9, plain={"eff": 0.99}) + pair("NA_PMET")),
    ("neighbor-efficacy-stays", FAILS, pair(eff=0.96, plain={"eff": 0.99})),
    ("neighbor-sizes", HOLDS,
     pair(model="gpt2-xl", eff=0.99, gen=0.36, spec=0.86, plain={"gen": 0.38, "spec": 0.52})),
    ("neighbor-sizes", PART, pair(model="gpt2-xl", eff=0.99, spec=0.84, plain={"spec": 0.5})),
    ("neighbor-sizes", FAILS, pair(model="gpt2-xl", spec=0.6, plain={"spec": 0.4})),
    ("neighbor-sizes", NOT_RUN, pair(spec=0.84, plain={"spec": 0.5})),
    ("neighbor-halts", HOLDS, pair(plain={"dp": NEVER})),
    ("neighbor-halts", PART, pair() + pair("NA_PMET", dp=NEVER)),
    ("neighbor-halts", FAILS, pair(dp=NEVER, plain={"dp": GOOD})),
    ("neighbor-longer", HOLDS, pair(dp=LATE, plain={"dp": GOOD}) + pair("NA_PMET")),
    ("neighbor-longer", PART, pair(dp=GOOD, plain={"dp": LATE}) + pair("NA_PMET")),
    ("neighbor-longer", FAILS, pair(dp=GOOD, plain={"dp": LATE})),
    ("neighbor-longer", NOT_RUN, pair(plain={"dp": NEVER})),
    ("llama-neighbor", HOLDS,
     pair("NA_PMET", spec=0.2, ppl=1414, plain={"spec": 0.7, "ppl": 31.0}, **LLAMA)),
    ("llama-neighbor", PART, pair("NA_PMET", spec=0.2, plain={"spec": 0.7}, **LLAMA)),
    ("llama-neighbor", FAILS, pair("NA_PMET", **LLAMA)),
    ("prefix-specificity", HOLDS, triple(0.5, 0.8, 0.9)),
    ("prefix-specificity", PART, triple(0.5, 0.8, 0.9) + triple(0.5, 0.9, 0.8, "gpt-j-6b")),
    ("prefix-specificity", FAILS, triple(0.85, 0.8, 0.9)),
    ("prefix-free-score", HOLDS, triple(0.5, 0.8, 0.9)),
    ("prefix-free-score", PART, triple(0.5, 0.8, 0.9) + triple(0.5, 0.9, 0.8, "gpt-j-6b")),
    ("prefix-free-score", FAILS, triple(0.5, 0.8, 0.8)),
    ("rule-best", HOLDS, [run(eff=(0.1, 0.9, 0.9), dp=[9, 0.5, 0.4])]),
    ("rule-best", PART, [run(eff=(0.1, 0.9, 0.9), dp=[9, 0.5, 0.4]),
                         run("PMET", eff=(0.1, 0.8, 0.9), dp=[9, 0.5, 0.4])]),
    ("rule-best", FAILS, [run(eff=(0.9, 0.8, 0.7), dp=[8, 9, 0.5])]),
    ("rule-best", NOT_RUN, [run(), run("PMET", dp=NEVER)]),  # nothing after the stop: no rival
    ("rule-first", HOLDS, [run(dp=[9, 0.5, 0.4])]),
    ("rule-first", PART, [run(dp=[9, 0.5, 0.4]), run("PMET", dp=[8, 9, 0.5])]),
    ("rule-first", FAILS, [run(dp=[8, 9, 0.5])]),
    ("rule-first", NOT_RUN, [run()]),
    ("small-change-two", HOLDS, [run()]),
    ("small-change-two", FAILS, [run(), run("PMET", dp=[0.5], p_hat=[999.5])]),
    ("small-change-later", HOLDS, [run(), run("PMET", dp=[9, 0.5, 0.4])]),
    ("small-change-later", FAILS, [run(), run("PMET", dp=[9, 8, 0.5], p_hat=[10, 10, 2])]),
    ("small-change-later", FAILS, [run(dp=[2, 0.5], p_hat=[2, 1.5])]),  # both at k = 2
    ("monotonic-fails", HOLDS, [run(dp=[8, 9, 0.5]), run("PMET", dp=[9, 0.5, 0.6])]),
    ("monotonic-fails", HOLDS, [run(dp=[9, 0.5, 0.4])]),
    ("monotonic-fails", FAILS, [run(dp=[9, 0.5, 0.6])]),
    ("monotonic-fails", NOT_RUN, [run()]),
]  # fmt: skip


@pytest.mark.parametrize("claim, verdict, runs", CASES)
def test_verdicts(claim, verdict, runs):
    got = check(claim, pd.concat(runs, ignore_index=True))
    assert got.verdict == verdict, got.evidence
    assert (got.evidence[0].isdigit()) == (verdict != NOT_RUN) and got.evidence.endswith(".")


def test_every_claim_is_tried_with_every_verdict_it_can_have():
    tried = {(claim, verdict) for claim, verdict, _ in CASES} | {
        (claim, verdict) for claim, verdict, *_ in UNDEREDIT
    }
    for claim in C.CLAIMS:
        wanted = {HOLDS, FAILS} | (set() if claim.quantifier in ("always", "can") else {PART})
        assert {(claim.id, verdict) for verdict in wanted} <= tried, claim.id
    assert len(CLAIMS) == len(C.CLAIMS) >= 20


@pytest.mark.parametrize("claim", C.CLAIMS, ids=lambda claim: claim.id)
def test_nothing_is_claimed_of_nothing(claim):
    empty = run()[:0]
    unedited = run()[:1]
    for metrics in (empty, unedited, run(method="unknown")):
        got = check(claim.id, metrics)
        assert got == (NOT_RUN, f"Needs {claim.needs}.")


# ---- single edits


def per_request(first, stop, p_hat=None, method="MEMIT"):
    """Efficacy of each edit at k = 1 and 2: "." missed, "-" not the most likely, "x" edited."""
    frames = []
    for k, edits in ((1, first), (2, stop)):
        frame = pd.DataFrame(1.0, index=range(len(edits)), columns=list(REQUEST_METRICS))
        frame["eff_acc"] = [float(e == "x") for e in edits]
        frame["eff_succ"] = [float(e != ".") for e in edits]
        if p_hat:
            frame = frame.assign(p_bar=1.0, p_hat=p_hat[k - 1])
        frames.append(frame.assign(request=range(len(edits)), k=k))
    name = dict(zip(RUN, ("counterfact", "gpt-j-6b", method, 1), strict=True))
    return pd.concat(frames, ignore_index=True).assign(**name)


GREW, STUCK = ("..xx", "x.xx"), (".-xx", ".xxx")
UNDEREDIT = [
    ("underedit-gain", HOLDS, [GREW]),
    ("underedit-gain", PART, [GREW, STUCK]),
    ("underedit-gain", FAILS, [STUCK]),
    ("underedit-gain", NOT_RUN, [("--xx", "xxxx")]),
    ("underedit-share", HOLDS, [GREW]),
    ("underedit-share", PART, [GREW, STUCK]),
    ("underedit-share", FAILS, [(".---", "xx--")]),  # half is not most
    ("underedit-dp", HOLDS, [(*GREW, ([9, 9, 1, 1], [1, 1, 1, 1]))]),
    ("underedit-dp", PART, [(*GREW, ([9, 9, 1, 1], [1] * 4)), (*GREW, ([1, 1, 9, 9], [1] * 4))]),
    ("underedit-dp", FAILS, [(*GREW, ([1, 1, 9, 9], [1, 1, 1, 1]))]),
    ("underedit-dp", NOT_RUN, [GREW]),
    # an edit that is no number is a collapse, and not left out
    ("underedit-dp", NOT_RUN, [(*GREW, ([9, 9, 1, 1], [1, np.nan, 1, 1]))]),
]


@pytest.mark.parametrize("claim, verdict, edits", UNDEREDIT)
def test_verdicts_on_single_edits(claim, verdict, edits):
    methods = ("MEMIT", "PMET")[: len(edits)]
    requests = [per_request(*e, method=m) for e, m in zip(edits, methods, strict=True)]
    metrics = pd.concat([run(method) for method in methods], ignore_index=True)
    got = check(claim, metrics, pd.concat(requests, ignore_index=True))
    assert got.verdict == verdict, got.evidence
    shuffled = pd.concat(requests).sample(frac=1, random_state=0)
    assert check(claim, metrics, shuffled) == got


def test_the_numbers_are_those_of_the_underedit_edits():
    got = check("underedit-gain", run(), per_request(*GREW))
    assert got.evidence == "1 of 1. Yes: gpt-j-6b MEMIT 2 UnderEdit edits +50.0, all +25.0."
    got = check("underedit-share", run(), per_request(".-xx", "xxxx"))
    assert got.evidence == "0 of 1. No: gpt-j-6b MEMIT 50% of the gain."


# ---- evidence


def test_evidence_names_who_does_and_who_does_not_by_trial():
    metrics = pd.concat(
        [run(dp=[9, 0.5]), run(trial=2, dp=NEVER), run(trial=3, dp=[0.5]),
         run("ROME", dataset="zsre", dp=NEVER)]
    )  # fmt: skip
    got = check("always-halts", metrics, names={"gpt-j-6b": "GPT-J"})
    assert got.evidence == (
        "2 of 4. Yes: GPT-J MEMIT (counterfact) k = 2, k = 1. No: GPT-J MEMIT (counterfact) not"
        " within 3; GPT-J ROME (zsre) not within 3."
    )


def test_long_evidence_names_the_exceptions_rather_than_the_rule():
    names = [f"gpt-{i}" for i in range(12)]
    metrics = [run(model=name, dp=NEVER if i < 5 else GOOD) for i, name in enumerate(names)]
    got = check("always-halts", pd.concat(metrics)).evidence
    assert got.startswith("7 of 12. Yes: gpt-5 MEMIT k = 2; gpt-6 MEMIT k = 2; gpt-7 MEMIT k = 2;")
    assert "and 4 more. No: " in got and all(f"gpt-{i} MEMIT not within 3" in got for i in range(5))


def test_a_method_is_judged_by_its_mean_over_trials():
    metrics = pd.concat([run(eff=(0.5, 0.9)), run(eff=(0.9, 0.8), trial=2)])
    assert check("score-rises", metrics).verdict == HOLDS
    metrics = pd.concat([run(eff=(0.5, 0.6)), run(eff=(0.9, 0.5), trial=2)])
    assert check("score-rises", metrics).verdict == FAILS


def test_under_mean_the_means_are_judged_and_their_stop_is_every_trials():
    """By itself trial 1 stops at k = 1 and trial 2 never; their means stop at k = 2."""
    metrics = pd.concat([run(dp=[0.5, 0.5]), run(trial=2, dp=[9, 1.4])], ignore_index=True)
    requests = pd.concat([per_request(*GREW).assign(trial=t) for t in (1, 2)], ignore_index=True)
    for stop_row, halts, gain in (("trial", "1 of 2.", "1 of 1."), ("mean", "1 of 1.", "2 of 2.")):
        rule = Rule(stop_row)
        assert check("always-halts", metrics, rule=rule).evidence.startswith(halts)
        assert check("underedit-gain", metrics, requests, rule).evidence.startswith(gain)
    assert "k = 2" in check("always-halts", metrics, rule=Rule("mean")).evidence


def test_the_unedited_models_perplexity_is_no_collapse():
    metrics = run("ROME")
    metrics.loc[metrics["k"] == 0, "me_ppl"] = 5000.0
    assert check("rome-collapses", metrics).verdict == FAILS


def test_edits_that_are_missing_at_the_stop_say_nothing():
    requests = per_request(*GREW)
    gone = requests[(requests["k"] == 1) | (requests["request"] > 0)]
    assert check("underedit-gain", run(), gone).verdict == NOT_RUN


def test_epsilon_moves_the_stop():
    metrics = run(eff=(0.5, 0.9, 0.4), dp=[9, 3, 0.5])
    assert check("stop-beats-once", metrics).verdict == FAILS
    assert check("stop-beats-once", metrics, rule=Rule("trial", 5.0)).verdict == HOLDS


# ---- the paper's own numbers


@pytest.fixture(scope="module")
def printed():
    return V.Data(as_metrics([6, 7, 8, 9]), averaging=averaging(Rule("mean")))


def test_what_is_known_about_the_papers_own_rows(printed):
    """SPEC C.5, G.1 and I.b: P8, P9 and P10."""
    known = {
        "score-rises": HOLDS,
        "stop-beats-once": PART,
        "largest-gains": HOLDS,
        "always-halts": FAILS,
        "specificity-falls": HOLDS,
        "rome-collapses": HOLDS,
        "gpt-stable": HOLDS,
        "llama-memit": HOLDS,
        "pmet-slow": HOLDS,
        "neighbor-specificity": PART,
        "neighbor-efficacy": FAILS,
        "neighbor-sizes": HOLDS,
        "neighbor-halts": PART,
        "neighbor-longer": HOLDS,
        "llama-neighbor": HOLDS,
        "prefix-specificity": HOLDS,
        "prefix-free-score": FAILS,
        "spread-repairs": HOLDS,
        "pmet-precise": HOLDS,
        "pmet-stronger": PART,
        "small-change-two": HOLDS,
        "small-change-later": HOLDS,
        "monotonic-fails": HOLDS,
        "underedit-gain": NOT_RUN,
    }
    assert {name: CLAIMS[name].verdict(printed).verdict for name in known} == known
    evidence = CLAIMS["always-halts"].verdict(printed).evidence.split(" No: ")[1]
    assert evidence.count("ROME") == 6 and evidence.count("llama-2-7b MEMIT") == 2
    assert (
        "No: llama-2-7b NA_PMET not within 10."
        in CLAIMS["neighbor-halts"].verdict(printed).evidence
    )


def test_the_rule_has_the_best_score_in_six_of_the_ten_cells_of_table_4():
    got = check("rule-best", as_metrics([6, 7]))
    assert got.verdict == PART and got.evidence.startswith("6 of 10.")
    lost = got.evidence.split(" No: ")[1]
    for name in ("gpt-j-6b MEMIT (zsre)", "gpt-j-6b PMET (zsre)", "llama-2-7b PMET (counterfact)",
                 "llama-2-7b PMET (zsre)"):  # fmt: skip
        assert name in lost


def test_monotonic_decrease_stops_gpt_j_pmet_too_early():
    """The row that fixes the reading of the rule (SPEC C.5)."""
    metrics = as_metrics(6)
    one = metrics[(metrics["model"] == "gpt-j-6b") & (metrics["method"] == "PMET")]
    got = check("monotonic-fails", one)
    assert got.evidence == "1 of 1. Yes: gpt-j-6b PMET k = 1 against 3."


# ---- the whole table


def test_models_of_the_paper_small_ones_and_printed_rows_are_judged_apart():
    metrics = pd.concat([run(**UP), run(model="tiny", **DOWN)], ignore_index=True)
    got = C.check_claims(
        metrics, averaging=averaging(TRIAL), small=["tiny"], printed=as_metrics([6])
    )
    assert list(got) == list(C.COLUMNS) and len(got) == 3 * len(C.CLAIMS)
    rises = got[got["id"] == "score-rises"].set_index("scope")
    assert rises.loc[C.PAPER_MODELS, "verdict"] == HOLDS
    assert rises.loc[C.SMALL_MODELS, "verdict"] == FAILS
    assert rises.loc[C.PRINTED, "evidence"].startswith("5 of 9.")
    assert set(C.check_claims(metrics, averaging=averaging(TRIAL))["scope"]) == {C.PAPER_MODELS}
    nothing = C.check_claims(metrics[:0], averaging=averaging(TRIAL))
    assert set(nothing["verdict"]) == {NOT_RUN} and len(nothing) == len(C.CLAIMS)


def test_the_script_writes_the_table(tmp_path):
    folder = tmp_path / "counterfact" / "gpt-j-6b" / "MEMIT" / "trial1"
    requests = per_request(*GREW)
    for k in (1, 2):
        path = folder / f"iter{k}" / "edits.parquet"
        path.parent.mkdir(parents=True)
        log = pd.DataFrame({"request": range(4), "p_bar": 1.0, "p_hat": [9.0, 9.0, 1.0, 1.0]})
        log.assign(p_hat=log["p_hat"] if k == 1 else 1.0).to_parquet(path)
    requests.drop(columns=list(RUN)).to_parquet(folder / "request_metrics.parquet")
    run().to_csv(tmp_path / "metrics.csv", index=False)
    job = script_job(
        str(tmp_path / "log"),
        input={
            "metrics": str(tmp_path / "metrics.csv"),
            "requests": [str(folder / "request_metrics.parquet")],
            "edits": [str(folder / f"iter{k}" / "edits.parquet") for k in (1, 2)],
            "tables": str(ROOT / "modeledit/paper/printed/tables.csv"),
        },
        output={"claims": str(tmp_path / "claims.csv")},
        params={
            "small": [],
            "epsilon": 1.0,
            "titles": {"gpt-j-6b": "GPT-J 6B"},
            "switches": CORRECTED,
        },
    )
    runpy.run_path(str(ROOT / "scripts" / "check_claims.py"), {"snakemake": job}, "__main__")
    got = pd.read_csv(tmp_path / "claims.csv").set_index(["id", "scope"])
    assert got.loc[("underedit-dp", C.PAPER_MODELS), "evidence"] == (
        "1 of 1. Yes: GPT-J 6B MEMIT 8 to 0, all 4 to 0."
    )
    assert got.loc[("always-halts", C.PRINTED), "verdict"] == FAILS
