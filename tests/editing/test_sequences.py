"""AlphaEdit and MEMIT_seq, iterated and in sequence, against the plain loop (A.9, I25)."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from modeledit.editing.covariance import second_moments
from modeledit.editing.factors import factorize
from modeledit.editing.iteration import EditSettings, Statistics, edit_once
from modeledit.editing.null_space import null_space
from modeledit.lm.model import EditableModel
from modeledit.study.earlier_keys import Written, earlier_keys
from modeledit.study.hyperparameters import Cut, NullSpaceHyperparameters
from modeledit.study.methods import METHODS
from tests.editing.test_engine import EVERY, plain_settings, tolerance_of
from tests.editing.tiny_edits import SWITCHES, Silent
from tests.reference import models as tiny
from tests.reference import plain, plain_sequences

HYPER = replace(tiny.HYPER, steps=3)
L2 = 2.0
TOKENIZER, CONTEXTS = tiny.tiny_tokenizer(), tiny.tiny_contexts()[:2]
BATCHES = [tiny.tiny_requests()[:2], tiny.tiny_requests()[2:4]]
POLICIES = ["none", "other_batches", "released"]


def moments_of(model):
    """C of the edited layers, with eigenvalues of very different sizes."""
    texts = [r.text for batch in BATCHES for r in batch] + CONTEXTS
    moments, _ = second_moments(EditableModel(model), TOKENIZER, texts, HYPER.layers, 64)
    return {layer: c + 1e-3 * torch.eye(len(c)) for layer, c in moments.items()}


def middle(moments):
    """A threshold between eigenvalues, with about half of all below it."""
    values = torch.cat([torch.linalg.eigvalsh(c) for c in moments.values()]).sort().values
    return float(values[len(values) // 2 - 1 :][:2].mean())


def alphaedit(threshold):
    """HYPER for AlphaEdit."""
    kept = {name: value for name, value in vars(HYPER).items() if name != "covariance_weight"}
    cut = Cut(kind="threshold", value=threshold)
    return NullSpaceHyperparameters(**kept, null_space=cut, l2=L2)


def fast(unedited, name, policy, moments, iterations=2):
    """The engine's weights after each iteration of each batch, with the keys as files hold them."""
    model, method = EditableModel(deepcopy(unedited)), METHODS[name]
    if method.protects == "null_space":
        hyper = alphaedit(middle(moments))
        known = {"null_spaces": {i: null_space(c, hyper.null_space) for i, c in moments.items()}}
    else:
        hyper = HYPER
        known = {"factors": {i: factorize(c, i).lower for i, c in moments.items()}}
    switches = replace(SWITCHES, key_cache=policy)
    settings = EditSettings(method, hyper, switches, "float32", 400)
    left, weights = {}, []
    for b, batch in enumerate(BATCHES, start=1):
        for k in range(1, iterations + 1):
            parts = [
                left[w.batch, w.k or iterations]
                for w in earlier_keys(method.keys_kept(policy), b, k, range(1, iterations + 1))
            ]
            earlier = {i: torch.cat([p[i] for p in parts]) for i in hyper.layers} if parts else {}
            statistics = Statistics(CONTEXTS, earlier=earlier, **known)
            _, edits, left[b, k] = edit_once(
                model, TOKENIZER, batch, statistics, settings, Silent()
            )
            assert np.isfinite(edits[["residual_before", "residual"]]).all(axis=None)
            weights.append([model.down_weight(i).clone() for i in range(model.depth)])
    return weights


def slow(unedited, name, policy, moments, iterations=2):
    """The same by the plain loop."""
    method, seq = METHODS[name], plain_sequences
    own = {"covariances": moments}
    if method.protects == "null_space":
        cut = middle(moments)
        own = {"projectors": {i: seq.projector(c, cut) for i, c in moments.items()}, "l2": L2}
    settings = plain_settings(METHODS["MEMIT"], SWITCHES, HYPER)
    how = seq.Method(settings, policy, **own, n_neighbors=method.n_neighbors)
    models = seq.edit_in_sequence(unedited, TOKENIZER, BATCHES, CONTEXTS, how, iterations)
    return [[plain.weight_out_in(down) for down in plain.locate(model).down] for model in models]


def assert_equal(unedited, name, policy):
    moments = moments_of(unedited)
    found, expected = (run(unedited, name, policy, moments) for run in (fast, slow))
    assert len(found) == len(expected) == 4
    for ours, theirs in zip(found, expected, strict=True):
        for mine, right in zip(ours, theirs, strict=True):
            assert (mine - right).norm() / right.norm() < 10 * tolerance_of(unedited)
    return found


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("family", sorted(EVERY))
def test_alphaedit_equals_the_plain_loop(family, policy):
    assert_equal(EVERY[family](dtype=torch.float64), "AlphaEdit", policy)


@pytest.mark.parametrize("policy", POLICIES)
def test_memit_seq_and_neighbors_equal_the_plain_loop(policy):
    for name in ("MEMIT_seq", "NA_AlphaEdit"):
        assert_equal(tiny.tiny_gpt2(dtype=torch.float64), name, policy)


def test_policies_differ_where_they_should():
    """In the first batch only "released" keeps keys; in one batch no other cache has any."""
    unedited = tiny.tiny_gpt2(dtype=torch.float64)
    moments = moments_of(unedited)
    by_policy = {policy: fast(unedited, "AlphaEdit", policy, moments) for policy in POLICIES}
    none, others, released = (by_policy[policy] for policy in POLICIES)

    def same(a, b):
        return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))

    assert same(none[0], others[0]) and same(none[1], others[1]) and same(none[0], released[0])
    assert not same(none[1], released[1]) and not same(none[2], others[2])
    assert not same(others[2], released[2])


def test_which_keys_are_kept():
    def kept(policy, batch, k):
        return earlier_keys(policy, batch, k, range(1, 4))

    assert kept("none", 3, 2) == []
    assert kept("other_batches", 1, 3) == []
    assert kept("other_batches", 3, 1) == [Written(1, None), Written(2, None)]
    assert kept("other_batches", 3, 2) == kept("other_batches", 3, 1)
    assert kept("released", 1, 1) == []
    assert kept("released", 2, 3) == [Written(b, k) for b, k in
        [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)]]  # fmt: skip


def test_alphaedit_finds_its_targets_as_memit_does():
    """OPTIMIZATION, the residual and how it is shared out are MEMIT's, with numbers of its own."""
    hypers = {"AlphaEdit": alphaedit(0.1), "MEMIT": HYPER}
    memit, alpha, seq, assisted = (
        EditSettings(METHODS[name], hypers[METHODS[name].parameters], SWITCHES, "float32", 400)
        for name in ("MEMIT", "AlphaEdit", "MEMIT_seq", "NA_AlphaEdit")
    )
    assert memit.targets == alpha.targets == seq.targets == assisted.targets
    assert memit.spread == alpha.spread == seq.spread
    other = replace(alpha, hyper=replace(alphaedit(0.1), lr=0.3))
    assert other.targets == replace(memit.targets, lr=0.3)


def test_what_a_method_writes_with():
    """L2 over its divisor into null spaces, the covariance with lambda; keys as the switch says."""
    statistics = Statistics(CONTEXTS, earlier={1: torch.ones(2, 3)})

    def write(name, policy="other_batches"):
        hyper = HYPER if METHODS[name].protects == "covariance" else alphaedit(0.1)
        switches = replace(SWITCHES, key_cache=policy)
        settings = EditSettings(METHODS[name], hyper, switches, "float32", 400)
        return settings.write(statistics)

    assert write("AlphaEdit").l2 == L2 and write("L2_OVER_4_AlphaEdit").l2 == L2 / 4
    assert write("MEMIT_seq").weight == HYPER.covariance_weight
    for name, policy, keeps in [
        ("AlphaEdit", "none", False),
        ("AlphaEdit", "released", True),
        ("MEMIT_seq", "other_batches", True),
        ("FRESH_AlphaEdit", "released", False),
        ("GROWING_AlphaEdit", "none", True),
        ("MEMIT", "released", False),
    ]:
        assert write(name, policy).keeps_keys == keeps
        assert write(name, policy).earlier is statistics.earlier
