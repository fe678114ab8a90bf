"""What the log of an iteration says of SPREAD: how far requests are from their targets."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from modeledit.editing.covariance import second_moments
from modeledit.editing.factors import factorize
from modeledit.editing.iteration import Statistics, edit_once
from modeledit.editing.null_space import null_space
from modeledit.editing.state import pass_on
from modeledit.evaluation.schemas import EDITS
from modeledit.io.state import write_state
from modeledit.lm.model import EditableModel
from modeledit.study.hyperparameters import Cut, NullSpaceHyperparameters
from modeledit.study.layout import IterationFiles
from modeledit.study.methods import METHODS
from tests.editing.test_engine import MODELS, plain_settings, tolerance_of
from tests.editing.tiny_edits import SWITCHES, Silent, settings_of, state_of
from tests.reference import models as tiny
from tests.reference import plain

HYPER = replace(tiny.HYPER, steps=3)
WITHOUT = {name: value for name, value in vars(HYPER).items() if name != "covariance_weight"}
NULL_SPACE = NullSpaceHyperparameters(**WITHOUT, null_space=Cut(kind="trace", value=0.5), l2=0.5)
TOKENIZER, CONTEXTS = tiny.tiny_tokenizer(), tiny.tiny_contexts()[:2]
REQUESTS = tiny.tiny_requests()[:3]


def edited(unedited, name, iterations):
    """Of each iteration of the engine: the models before and after it, targets and log."""
    texts = [r.text for r in REQUESTS] + CONTEXTS
    moments, _ = second_moments(EditableModel(unedited), TOKENIZER, texts, HYPER.layers, 64)
    moments = {layer: c + 1e-2 * torch.eye(len(c)) for layer, c in moments.items()}
    statistics = Statistics(
        CONTEXTS,
        {i: factorize(c, i).lower for i, c in moments.items()},
        {i: null_space(c, NULL_SPACE.null_space) for i, c in moments.items()},
    )
    own = {"null_space": NULL_SPACE, "covariance": HYPER}[METHODS[name].protects]
    if name == "ROME":
        own = replace(HYPER, layers=HYPER.layers[:1])
    model, settings, kept = EditableModel(deepcopy(unedited)), settings_of(name, own), None
    for _ in range(iterations):
        before = deepcopy(model.model)
        made = edit_once(model, TOKENIZER, REQUESTS, statistics, settings, Silent(), kept)
        kept = made.targets if METHODS[name].repeats == "spread" else None
        yield before, model.model, made


def distances(model, name, targets):
    """Norm of target - state of each request, by the plain loop."""
    as_plain = name if name in ("MEMIT", "PMET") else "MEMIT"
    settings = plain_settings(METHODS[as_plain], SWITCHES, HYPER)
    return [
        float((target - plain.current_state(model, TOKENIZER, request, settings)).norm())
        for target, request in zip(targets, REQUESTS, strict=True)
    ]


@pytest.mark.parametrize("name", ["MEMIT", "PMET", "AlphaEdit", "MEMIT_seq"])
@pytest.mark.parametrize("family", sorted(MODELS))
def test_the_log_says_how_far_each_request_was_and_is_from_its_target(family, name):
    unedited = MODELS[family](dtype=torch.float64)
    close = {"rel": 10 * tolerance_of(unedited), "abs": 10 * tolerance_of(unedited)}
    for before, after, made in edited(unedited, name, iterations=2):
        targets, log = made.targets.state, made.edits
        assert log["residual_before"].tolist() == pytest.approx(
            distances(before, name, targets), **close
        )
        assert log["residual"].tolist() == pytest.approx(distances(after, name, targets), **close)
        assert log["residual"].mean() < log["residual_before"].mean()


@pytest.mark.parametrize("name", ["SPREAD_MEMIT", "SPREAD_AlphaEdit"])
def test_with_the_same_targets_an_iteration_begins_where_the_one_before_ended(name):
    logs = [made.edits for *_, made in edited(tiny.tiny_gpt2(dtype=torch.float64), name, 3)]
    for earlier, later in zip(logs, logs[1:], strict=False):
        assert later["residual_before"].tolist() == pytest.approx(earlier["residual"].tolist())
        assert later["residual"].mean() < earlier["residual"].mean()


def test_rome_has_no_residual():
    ((_, _, made),) = edited(tiny.tiny_gpt2(dtype=torch.float64), "ROME", iterations=1)
    assert made.edits[["residual_before", "residual"]].isna().all(axis=None)
    assert made.keys == {}


def test_a_residual_comes_through_the_file_and_an_iteration_after_the_stop_has_no_row(tmp_path):
    ((_, _, made),) = edited(tiny.tiny_gpt2(), "MEMIT", iterations=1)
    held, after = (IterationFiles.of(tmp_path, k) for k in (1, 2))
    for files in (held, after):
        files.state.parent.mkdir()
    EDITS.write(held.edits, made.edits)
    write_state(held.state, state_of(1, stopped=True))
    columns = ("residual_before", "residual")
    read = EDITS.read(held.edits, columns)
    assert read.to_numpy().tolist() == made.edits[list(columns)].to_numpy().tolist()
    pass_on(held.state, after, scored=False)
    assert EDITS.read(after.edits, columns).empty and not after.scores.exists()
