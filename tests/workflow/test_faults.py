"""A short form of the fault campaign (`faults.py`): damaged files, and a run that is killed."""

import pytest

from tests.workflow.disturbed import METRICS
from tests.workflow.faults import Campaign

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("faults")]


@pytest.fixture(scope="module")
def campaign(tmp_path_factory) -> Campaign:
    """The tiny study up to its metrics."""
    return Campaign.prepare(tmp_path_factory.mktemp("faults"), METRICS, other=False)


def test_a_damaged_file_is_refused_by_name_or_changes_nothing(campaign):
    verdicts = list(campaign.damaged(seed=0, most=2))
    assert {verdict.outcome for verdict in verdicts if verdict.kind == "none"} == {"same"}
    assert len({verdict.file for verdict in verdicts}) > 25
    assert not [verdict for verdict in verdicts if not verdict.right]


def test_a_run_that_is_killed_twice_ends_with_the_same_bytes(campaign):
    outcomes = campaign.kills(seed=0, most=2)
    assert not [outcome for outcome in outcomes if outcome.wrong], outcomes
