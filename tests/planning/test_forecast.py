"""What jobs are likely to take: by rule and wildcards, in the same proportions as the plan."""

import pytest

from modeledit.data.record_files import count_records
from modeledit.io.state import write_state
from modeledit.planning.durations import duration
from modeledit.planning.forecast import LIGHT, Forecast
from modeledit.study.config import load_settings
from tests.editing.tiny_edits import state_of
from tests.study.test_config import MODEL, ROOT, block, changed

EDIT = {"dataset": "geography-eligible", "model": MODEL, "method": "MEMIT", "trial": "1", "k": "1"}


def forecast(**parts):
    return Forecast(load_settings(changed(**parts), ROOT, count_records))


def test_later_iterations_take_fewer_steps_and_neighbors_more_time():
    told = forecast()
    first, second = (told.seconds("edit", EDIT | {"k": k}) for k in "12")
    with_neighbors = told.seconds("edit", EDIT | {"method": "NA_MEMIT"})
    assert LIGHT < second < first < with_neighbors


def test_rules_without_a_model_take_seconds():
    told = forecast()
    for rule in ("render_table", "evaluate_run", "prepare_model", "default"):
        assert told.seconds(rule, {"model": MODEL}) == LIGHT and not told.computes(rule)
    for rule in ("gather_covariance", "make_contexts", "find_eligible", "score_unedited"):
        assert told.seconds(rule, EDIT) > LIGHT and told.computes(rule)


def test_what_is_observed_of_the_unedited_model_is_forecast_alike():
    told = forecast(evaluation={"generation": {"tokens": 8}, "fluency": None, "drift": True})
    for rule in ("continue_prompts", "measure_drift"):
        assert told.computes(rule)
    unedited = told.seconds("continue_prompts_unedited", EDIT)
    assert unedited == told.seconds("continue_prompts", EDIT) > LIGHT


def test_batches_are_forecast_by_their_size():
    sizes = [{"trials": 1, "batches": {"size": size, "count": 2}} for size in (2, 4)]
    told = forecast(runs=[block() | batches for batches in sizes])
    at = {"dataset": "geography", "model": MODEL, "method": "MEMIT", "trial": "1", "k": "1"}
    small, large = (
        told.seconds("edit_batch", at | {"size": size, "batch": "1"}) for size in ("2", "4")
    )
    assert LIGHT < small < large
    assert told.usual(at | {"size": "2", "batch": "1"}) > 0
    early, late = (told.seconds("score_batch", at | {"size": "2", "batch": b}) for b in "12")
    assert LIGHT < early < late


def test_a_stop_is_known_by_the_iteration_before(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = forecast(name="known")
    assert told.stop_before(EDIT) is None and told.stop_before(EDIT | {"k": "2"}) is None
    folder = tmp_path / "results/known" / EDIT["dataset"] / MODEL / "MEMIT/trial1/iter3"
    folder.mkdir(parents=True)
    state = state_of(3, held_by=2, passed_on=True, stopped=True, differences=[2.0, 0.0])
    write_state(folder / "state.json", state)
    assert told.stop_before(EDIT | {"k": "4"}) == 2
    (folder / "state.json").write_text("half of")
    assert told.stop_before(EDIT | {"k": "4"}) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (90, "2 min"),
        (7100, "118 min"),
        (7300, "2.0 h"),
        (4e5, "111 h"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
