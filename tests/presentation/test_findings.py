"""The sentences of the report's first screen say what the metrics say."""

import pandas as pd
import pytest

from modeledit.paper.claims import CLAIMS, PRINTED
from modeledit.paper.judging import FAILS, HOLDS, NOT_RUN
from modeledit.presentation import findings as F
from modeledit.study.stopping import Rule
from tests.presentation.test_tables import frame
from tests.presets import averaging

# k -> (efficacy, generalization, specificity, ME-PPL, p_bar, p_hat)
MEMIT = {1: (60, 50, 90, 80.0, 1.1, 100.0), 2: (90, 70, 88, 80.0, 1.05, 1.5)}
NEIGHBOR = {1: (50, 40, 95, 80.0, 1.1, 50.0), 2: (80, 60, 94, 80.0, 1.1, 1.5)}
NEVER = {1: (50, 40, 99, 80.0, 1.1, 50.0), 2: (80, 60, 98, 80.0, 1.1, 20.0)}
AVERAGING = averaging(Rule("trial", 1.0))


def claims(*verdicts):
    return pd.DataFrame(verdicts, columns=["id", "section", "scope", "verdict"])


def found(metrics, judged=None):
    titles = {"gpt2-xl": "GPT-2 XL"}
    return {one.group: one for one in F.findings(metrics, judged, AVERAGING, titles)}


def test_every_claim_belongs_to_a_group():
    assert {F.group_of(claim.section) for claim in CLAIMS} == set(F.TITLES)


def test_iterating_is_told_by_its_first_iteration_and_its_stop():
    said = found(frame({"MEMIT": MEMIT}))
    assert said["iterating"].sentence == (
        "From the first iteration to the stop: efficacy accuracy 60.0 → 90.0% (MEMIT);"
        " specificity accuracy 90.0 → 88.0% (MEMIT)."
    )
    assert said["stopping"].sentence == "The run met |Δp| ≤ 1, after 2 iterations."
    assert set(said) == {"iterating", "stopping"}


def test_a_neighbor_is_told_against_the_plain_method():
    said = found(frame({"MEMIT": MEMIT, "NA_MEMIT": NEIGHBOR}))
    assert said["neighbors"].sentence == (
        "At the stop, without a neighbor → with one: specificity accuracy 88.0 → 94.0% (NA_MEMIT);"
        " generalization accuracy 70.0 → 60.0% (NA_MEMIT)."
    )


def test_pmet_is_told_against_memit():
    said = found(frame({"MEMIT": MEMIT, "PMET": NEVER}))
    assert "MEMIT → PMET: specificity accuracy 88.0 → 98.0% (PMET)" in said["algorithms"].sentence
    assert said["stopping"].sentence == "1 of 2 runs met |Δp| ≤ 1, after 2 iterations."


def test_many_cases_are_counted():
    metrics = pd.concat(
        [frame({"MEMIT": MEMIT, "PMET": NEVER}, model=name) for name in ("gpt2-xl", "other")],
        ignore_index=True,
    )
    said = found(metrics)
    assert said["iterating"].sentence == (
        "From the first iteration to the stop: efficacy accuracy rises in 4 of 4 cases, by +30.0"
        " points on average over all; specificity accuracy rises in 0 of 4 cases, by -1.5 points on"
        " average over all."
    )
    assert "(PMET, GPT-2 XL), 88.0 → 98.0% (PMET, other)" in said["algorithms"].sentence


def test_what_was_not_measured_is_not_said():
    without = frame({"MEMIT": MEMIT}).assign(spec_acc=float("nan"), score_acc=float("nan"))
    assert found(without)["iterating"].sentence == (
        "From the first iteration to the stop: efficacy accuracy 60.0 → 90.0% (MEMIT)."
    )
    assert "iterating" not in found(without.assign(eff_acc=float("nan")))


def test_a_rule_that_is_never_met_is_said():
    said = found(frame({"PMET": NEVER}))
    assert said["stopping"].sentence == "The run did not meet |Δp| ≤ 1 within its budget."


def test_verdicts_are_those_of_what_was_run():
    judged = claims(
        ("a", "5.1", "small model", HOLDS),
        ("a", "5.1", PRINTED, FAILS),
        ("b", "5.1, Table 6", "small model", FAILS),
        ("c", "3.1, 6.1", "small model", NOT_RUN),
        ("d", "5.2", "small model", HOLDS),
    )
    said = found(frame({"MEMIT": MEMIT}), judged)
    assert said["iterating"].verdicts == {HOLDS: 1, FAILS: 1} and said["iterating"].not_run == 1
    assert said["stopping"].verdicts == {} and said["stopping"].not_run == 0


@pytest.mark.parametrize("metrics", [None, frame({"SPREAD_MEMIT": MEMIT})])
def test_nothing_is_said_of_nothing_and_of_one_stage_alone(metrics):
    assert F.findings(metrics, None, AVERAGING, {}) == []
