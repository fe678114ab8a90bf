"""Which job goes first where several could: checks before long work, then what most wait for."""

from modeledit.data.record_files import count_records
from modeledit.study.config import load_settings
from modeledit.study.precedence import Precedence
from tests.study.test_config import ROOT, changed


def order(**parts):
    return Precedence(load_settings(changed(**parts), ROOT, count_records))


def edit(found, method, k, dataset="geography-eligible"):
    return found.edit(dataset, "smollm2-135m", method, k)


def test_a_short_covariance_goes_before_what_no_edit_waits_for():
    found = order()
    waited_for = [found.prepare, found.covariance, found.eligible, found.contexts]
    assert waited_for == sorted(waited_for, reverse=True)
    assert min(waited_for) > edit(found, "NA_MEMIT", 1)
    assert edit(found, "MEMIT", 10) > found.unedited > 0


def test_unfit_requests_are_refused_before_a_long_covariance():
    for source in ("fast", "recompute"):
        found = order(covariance={"source": source})
        assert found.prepare > found.eligible >= found.unedited > found.covariance
        assert found.covariance > edit(found, "MEMIT", 1)


def test_unedited_scores_that_edits_read_go_before_them():
    found = order(switches={"specificity_gt": "model_output"})
    assert found.unedited > edit(found, "NA_MEMIT", 1)


def test_the_run_that_may_have_most_iterations_left_goes_first():
    found = order(stop={"iterations": 2, "extended": 3})
    steps = [edit(found, method, k) for k in (1, 2, 3) for method in ("NA_MEMIT", "MEMIT")]
    assert steps == sorted(steps, reverse=True) and len(set(steps)) == 6
    longer = order(stop={"iterations": 2, "extended": 1000})
    assert edit(longer, "MEMIT", 998) == edit(found, "MEMIT", 1)  # two may follow either
    assert edit(longer, "NA_MEMIT", 1) < longer.contexts
