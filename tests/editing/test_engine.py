"""The fast engine against the plain per-request loop, on every architecture (A.6, A.7, C.3)."""

from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modeledit.editing.covariance import second_moments
from modeledit.editing.factors import CovarianceError, factorize
from modeledit.editing.iteration import Statistics, edit_once
from modeledit.editing.least_squares import least_squares_update
from modeledit.editing.optimization import optimize, perplexities
from modeledit.editing.problem import build_problem
from modeledit.editing.rome import edit_in_turn, rank_one_update
from modeledit.editing.spread import KeyRows, spread
from modeledit.lm.hooks import leave_before, record
from modeledit.lm.model import FEWEST_ROWS, EditableModel, ModelError
from modeledit.lm.scoring import score
from modeledit.lm.tokens import subject_row
from modeledit.lm.trees import Tree, pack, tree_groups
from modeledit.study.methods import METHODS
from tests.editing.tiny_edits import SWITCHES, Silent, covariance_write, settings_of
from tests.presets import CORRECTED
from tests.reference import models as tiny
from tests.reference import plain

MODELS = {"llama": tiny.tiny_llama, "gpt2": tiny.tiny_gpt2, "gptj": tiny.tiny_gptj}
EVERY = MODELS | tiny.FURTHER
# 25 steps until stop rules are met, which some of GPT-2's requests do; the clamp acts within eight.
HYPER = replace(tiny.HYPER, steps=25)
SHORT = replace(tiny.HYPER, steps=8, clamp=1.0)
PLAIN_AND_ONE = sorted(
    name
    for name, method in METHODS.items()
    if method.n_neighbors <= 1 and method.repeats == "both" and method.key_cache == "none"
    if not method.probe
)  # AlphaEdit and MEMIT_seq have MEMIT's OPTIMIZATION, see test_sequences


def tolerance_of(model):
    """Relative tolerance; even a float64 Llama or GPT-J has float32 steps inside."""
    if model.dtype == torch.float32:
        return 1e-3
    return 1e-8 if model.config.model_type == "gpt2" else 1e-5


@pytest.fixture(scope="module")
def tokenizer():
    return tiny.tiny_tokenizer()


@pytest.fixture(scope="module")
def requests():
    return tiny.tiny_requests()


@pytest.fixture(scope="module")
def contexts():
    return tiny.tiny_contexts()


def plain_settings(method, switches, hyper=HYPER, legacy_space=True):
    length = {"own": "own", "edit": "legacy"}[switches.neighbor_length]
    return plain.Settings(
        method=method.algorithm,
        layers=list(hyper.layers[-1:] if method.algorithm == "ROME" else hyper.layers),
        lr=hyper.lr,
        steps=hyper.steps,
        clamp=hyper.clamp,
        weight_decay=hyper.weight_decay,
        kl_factor=hyper.kl_factor,
        covariance_weight=hyper.covariance_weight,
        neighbor_weight=switches.neighbor_weight,
        neighbor_length=length,
        target_tokenization=switches.target_tokenization,
        legacy_space=legacy_space,
    )


def compare_optimization(model, tokenizer, requests, contexts, name, switches, hyper=SHORT):
    """Optimise with both and assert that everything they report is the same."""
    budget = 400
    method = METHODS[name]
    neighbor_contexts = method.neighbor_contexts(contexts, switches.nap_prefixes)
    usable = [r for r in requests if len(r.editing_neighbors) >= method.n_neighbors]
    assert usable
    problems = [
        build_problem(
            tokenizer,
            request,
            contexts,
            neighbor_contexts,
            method.n_neighbors,
            settings_of(name, HYPER, switches).tokenization(EditableModel(model)),
        )
        for request in usable
    ]
    settings = settings_of(name, hyper, switches).targets
    fast = optimize(EditableModel(model), problems, settings, budget)
    tolerance = tolerance_of(model)
    p_hat, p_hat_legacy = perplexities(EditableModel(model), problems, settings, budget)
    for i, request in enumerate(usable):
        neighbors = request.editing_neighbors[: method.n_neighbors]
        space = method.algorithm != "PMET" or model.config.model_type.startswith("gpt")
        slow_settings = plain_settings(method, switches, hyper, legacy_space=space)
        slow = plain.optimize(
            model, tokenizer, request, contexts, slow_settings, neighbors, neighbor_contexts
        )
        assert fast.numbers["steps"][i] == slow.steps
        assert fast.stop_reason[i] == slow.stop_reason
        error = (fast.state[i] - slow.target).norm() / slow.target.norm()
        assert error < tolerance, f"request {request.id}: relative error {error:.2e}"
        for column, value in {
            "loss": slow.loss,
            "nll": slow.nll,
            "kl": hyper.kl_factor * slow.kl,
            "weight_decay": slow.weight_decay,
            "p_bar": slow.p_bar,
            "p_bar_legacy": slow.p_bar_legacy,
            "p_init": slow.p_init,
            "init_norm": slow.init_norms[0],
            "delta_norm": float(slow.deltas[0].norm()),
        }.items():
            expected = pytest.approx(value, rel=10 * tolerance, abs=tolerance)
            assert fast.numbers[column][i] == expected, column
        same = pytest.approx(
            plain.p_hat(model, tokenizer, request, contexts, slow_settings), rel=tolerance
        )
        assert p_hat[i] == same
        mixed = plain.p_hat(
            model, tokenizer, request, contexts, slow_settings, neighbors, neighbor_contexts
        )
        assert p_hat_legacy[i] == pytest.approx(mixed, rel=tolerance)
    return fast


@pytest.mark.parametrize("name", PLAIN_AND_ONE)
@pytest.mark.parametrize("family", sorted(MODELS))
def test_targets_equal_the_plain_loop(family, name, tokenizer, requests, contexts):
    model = MODELS[family](dtype=torch.float64)
    hyper = HYPER if family == "gpt2" else SHORT
    fast = compare_optimization(model, tokenizer, requests, contexts, name, SWITCHES, hyper)
    norms = zip(fast.numbers["delta_norm"], fast.numbers["init_norm"], strict=True)
    clamped = [delta == pytest.approx(hyper.clamp * initial) for delta, initial in norms]
    assert any(clamped), "the clamp must act on some request"
    # A random neighbor's NLL never gets low enough to stop.
    if family == "gpt2" and not METHODS[name].neighbor_assisted:
        assert len(set(fast.numbers["steps"])) > 1, "the requests must stop at different steps"


@pytest.mark.parametrize("family", sorted(MODELS))
def test_targets_equal_the_plain_loop_in_float32(family, tokenizer, requests, contexts):
    model = MODELS[family](dtype=torch.float32)
    compare_optimization(model, tokenizer, requests, contexts, "NA_MEMIT", SWITCHES)


@pytest.mark.parametrize(
    "switches",
    [
        {"neighbor_weight": "row_mean", "neighbor_length": "edit"},
        {"neighbor_weight": "sum", "neighbor_length": "edit"},
        {"target_tokenization": "legacy"},
    ],
)
def test_targets_equal_the_plain_loop_for_every_switch(switches, tokenizer, requests, contexts):
    model = tiny.tiny_llama(dtype=torch.float64)
    merged = replace(SWITCHES, **switches)
    for name in ("NAP_MEMIT", "NA_PMET"):
        compare_optimization(model, tokenizer, requests, contexts, name, merged)


@pytest.mark.parametrize("name", ["MEMIT", "NA_MEMIT", "PMET", "NA_PMET", "ROME"])
def test_legacy_labels_in_front_of_the_subject_are_constants(name, requests, contexts):
    """I11: Llama's "▁" falls on the last prompt token but one, in front of a subject at the end."""
    model, tokenizer = tiny.tiny_llama(dtype=torch.float64), tiny.tiny_sentencepiece()
    merged = replace(SWITCHES, target_tokenization="legacy")
    method = METHODS[name]
    tokenization = settings_of(name, switches=merged).tokenization(EditableModel(model))
    ending = [r for r in requests if r.prompt.endswith("{}")][:1]
    chosen = [*ending, *(r for r in requests if not r.prompt.endswith("{}"))][:4]
    if method.algorithm != "PMET":  # which puts no space in front, but for a neighbor's object
        row = build_problem(tokenizer, ending[0], contexts, tokenization=tokenization).edit_rows[0]
        assert row.first_label < row.subject
        assert tokenizer.convert_ids_to_tokens(row.labels[0]) == "▁"
    compare_optimization(model, tokenizer, chosen, contexts, name, merged)


@pytest.mark.parametrize("name", ["MEMIT", "NA_PMET", "ROME"])
@pytest.mark.parametrize("family", sorted(tiny.FURTHER))
def test_targets_of_further_families_equal_the_plain_loop(
    family, name, tokenizer, requests, contexts
):
    """Windows that are shorter than the prompts, caps, norms behind the MLP: all in the loss."""
    model, few = tiny.FURTHER[family](dtype=torch.float64), replace(HYPER, steps=6)
    compare_optimization(model, tokenizer, requests[1:4], contexts, name, SWITCHES, few)


def test_packing_does_not_change_targets(tokenizer, requests, contexts):
    model = EditableModel(tiny.tiny_gpt2(dtype=torch.float64))
    problems = [build_problem(tokenizer, r, contexts) for r in requests]
    settings = settings_of("MEMIT", replace(HYPER, steps=12)).targets
    together = optimize(model, problems, settings, 10_000)
    alone = optimize(model, problems, settings, 1)
    reverse = optimize(model, problems[::-1], settings, 10_000)
    torch.testing.assert_close(together.state, alone.state, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(together.state, reverse.state.flip(0), rtol=1e-9, atol=1e-9)
    assert together.numbers["steps"] == alone.numbers["steps"] == reverse.numbers["steps"][::-1]
    assert len(set(together.numbers["steps"])) > 1, "some must leave the batch before the others"


@pytest.mark.parametrize("name", ["MEMIT", "PMET"])
@pytest.mark.parametrize("family", sorted(EVERY))
def test_spread_equals_the_plain_loop(family, name, tokenizer, requests, contexts):
    slow_model = EVERY[family](dtype=torch.float64)
    fast_model = EditableModel(deepcopy(slow_model))
    method = METHODS[name]
    texts = [r.text for r in requests] + contexts
    moments, _ = second_moments(fast_model, tokenizer, texts, HYPER.layers, 64)
    moments = {layer: c + 0.1 * torch.eye(len(c)) for layer, c in moments.items()}
    factors = {layer: factorize(c, layer).lower for layer, c in moments.items()}
    settings = plain_settings(method, SWITCHES)
    generator = torch.Generator().manual_seed(0)
    targets = [
        plain.current_state(slow_model, tokenizer, r, settings)
        + torch.randn(32, generator=generator, dtype=torch.float64)
        for r in requests
    ]
    key_rows = [
        [subject_row(tokenizer, c, r.prompt, r.subject) for c in contexts] for r in requests
    ]
    write, how = covariance_write(factors), settings_of(name, HYPER).spread
    spread(fast_model, key_rows, torch.stack(targets), write, how, 60)
    plain.spread(slow_model, tokenizer, requests, targets, contexts, moments, settings)
    for layer in range(fast_model.depth):
        expected = plain.weight_out_in(plain.locate(slow_model).down[layer])
        error = (fast_model.down_weight(layer) - expected).norm() / expected.norm()
        assert error < tolerance_of(slow_model)
    untouched = EVERY[family](dtype=torch.float64)
    changed = plain.weight_out_in(plain.locate(untouched).down[2])
    assert not torch.allclose(fast_model.down_weight(2), changed)


@pytest.mark.parametrize("weight", ["sum", "row_mean"])
@pytest.mark.parametrize("family", sorted(MODELS))
def test_several_neighbors_equal_the_plain_loop(family, weight, tokenizer, requests, contexts):
    """Three neighbors, bare and with every prefix, for both weights (D.1, I1, I3)."""
    model = MODELS[family](dtype=torch.float64)
    several = [
        replace(r, editing_neighbors=r.editing_neighbors + r.neighbors)
        for r in requests[:3]
        if all(n.subject for n in r.neighbors)
    ]
    several.append(replace(requests[3], editing_neighbors=requests[0].neighbors * 2))
    for name, prefixes in (("NA3_MEMIT", "first"), ("NAP3_PMET", "all")):
        switches = replace(SWITCHES, neighbor_weight=weight, nap_prefixes=prefixes)
        compare_optimization(model, tokenizer, several, contexts, name, switches, HYPER)


def test_rome_with_a_neighbor_equals_the_plain_loop(tokenizer, requests, contexts):
    slow_model = tiny.tiny_gpt2(dtype=torch.float64)
    fast_model = EditableModel(deepcopy(slow_model))
    hyper = replace(HYPER, steps=5)
    settings = settings_of("NA_ROME", hyper, SWITCHES).targets
    problems = [build_problem(tokenizer, r, contexts, ["{}"], 1) for r in requests]
    key_rows = [
        [subject_row(tokenizer, c, r.prompt, r.subject) for c in contexts] for r in requests
    ]
    fast = edit_in_turn(fast_model, problems, key_rows, settings, None, 400)
    slow_settings = plain_settings(METHODS["NA_ROME"], SWITCHES, hyper)
    slow, _ = plain.rome_sequential(
        slow_model, tokenizer, requests, contexts, slow_settings, n_neighbors=1
    )
    for state, found in zip(fast.state, slow, strict=True):
        assert (state - found.target).norm() / found.target.norm() < 1e-6


@pytest.mark.parametrize("whiten", [False, True])
@pytest.mark.parametrize("family", sorted(MODELS))
def test_rome_equals_the_plain_loop(family, whiten, tokenizer, requests, contexts, monkeypatch):
    """One after another, each on the model that carries those before it (SPEC A.8)."""
    slow_model = MODELS[family](dtype=torch.float64)
    fast_model = EditableModel(deepcopy(slow_model))
    hyper = replace(HYPER, steps=6)
    moments, _ = second_moments(fast_model, tokenizer, contexts, [2], 64)
    covariance = moments[2] + 0.1 * torch.eye(len(moments[2])) if whiten else None
    settings = settings_of("ROME", hyper, SWITCHES).targets
    problems = [build_problem(tokenizer, r, contexts) for r in requests]
    key_rows = [
        [subject_row(tokenizer, c, r.prompt, r.subject) for c in contexts] for r in requests
    ]
    factor = factorize(covariance, 2).lower if whiten else None
    monkeypatch.setattr("modeledit.editing.rome.TOGETHER", 3)
    fast = edit_in_turn(fast_model, problems, key_rows, settings, factor, 400)
    slow_settings = plain_settings(METHODS["ROME"], SWITCHES, hyper)
    slow, weights = plain.rome_sequential(
        slow_model, tokenizer, requests, contexts, slow_settings, covariance
    )
    # An edit starts from the rounding of those before it, so errors grow along the sequence.
    tolerance = 100 * tolerance_of(slow_model)
    for state, found in zip(fast.state, slow, strict=True):
        assert (state - found.target).norm() / found.target.norm() < tolerance
    assert fast.numbers["steps"] == [found.steps for found in slow]
    expected = plain.weight_out_in(plain.locate(slow_model).down[2])
    assert (fast_model.down_weight(2) - expected).norm() / expected.norm() < tolerance


def test_rank_one_update_maps_the_key_to_the_target():
    generator = torch.Generator().manual_seed(0)
    weight, key, direction, target = (
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in ((4, 9), (9,), (9,), (4,))
    )
    update = rank_one_update(key, direction, weight @ key, target)
    torch.testing.assert_close((weight + update) @ key, target)
    assert torch.linalg.matrix_rank(update) == 1


def test_zero_residual_changes_nothing(tokenizer, requests, contexts):
    model = EditableModel(tiny.tiny_llama(dtype=torch.float64))
    before = [model.down_weight(i).clone() for i in range(model.depth)]
    rows = [[subject_row(tokenizer, c, r.prompt, r.subject) for c in contexts] for r in requests]
    now = torch.stack(
        [
            plain.current_state(
                model.model, tokenizer, r, plain_settings(METHODS["MEMIT"], SWITCHES)
            )
            for r in requests
        ]
    )
    covariances = {layer: torch.eye(64, dtype=torch.float64) for layer in HYPER.layers}
    spread(model, rows, now, covariance_write(covariances), settings_of("MEMIT", HYPER).spread)
    for i, old in enumerate(before):
        torch.testing.assert_close(model.down_weight(i), old, rtol=0, atol=1e-12)


@pytest.mark.parametrize("m", [3, 20])
def test_update_solves_its_normal_equations(m):
    generator = torch.Generator().manual_seed(m)
    root = torch.randn(12, 40, generator=generator, dtype=torch.float64)
    covariance = root @ root.T / 40
    keys = torch.randn(12, m, generator=generator, dtype=torch.float64)
    residual = torch.randn(5, m, generator=generator, dtype=torch.float64)
    update = least_squares_update(factorize(covariance, 0).lower, keys, residual, 7.0)
    torch.testing.assert_close(update @ (7.0 * covariance + keys @ keys.T), residual @ keys.T)


def test_singular_covariance_is_refused_with_the_way_out():
    with pytest.raises(CovarianceError, match="layer 4 .* tokens; the key has 6 rows"):
        factorize(torch.ones(6, 6), 4)


def test_second_moments_equal_the_plain_ones(tokenizer, contexts):
    hf_model = tiny.tiny_gpt2(dtype=torch.float64)
    texts = [c.replace("{}", "Lyon is a city") for c in contexts]
    moments, tokens = second_moments(EditableModel(hf_model), tokenizer, texts, [0, 3], 9)
    assert tokens == sum(min(len(tokenizer(t)["input_ids"]), 9) for t in texts)
    for layer in (0, 3):
        total = torch.zeros(128, 128, dtype=torch.float64)
        for text in texts:
            ids = torch.tensor([tokenizer(text)["input_ids"][:9]])
            seen = []
            handle = (
                plain.locate(hf_model)
                .down[layer]
                .register_forward_hook(lambda _m, inputs, _o, seen=seen: seen.append(inputs[0][0]))
            )
            hf_model(ids)
            handle.remove()
            total += seen[0].T @ seen[0]
        torch.testing.assert_close(moments[layer], total / tokens, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("family", sorted(EVERY))
def test_scores_equal_one_prompt_at_a_time(family, tokenizer, requests):
    hf_model = EVERY[family](dtype=torch.float64)
    texts = ["The river is long and the city is old.", "Lyon is in France."]
    table = score(EditableModel(hf_model), tokenizer, requests, CORRECTED, texts, 90).to_pylist()
    by_id = {r.id: r for r in requests}
    kinds = set()
    for row in table:
        kinds.add(row["kind"])
        if row["kind"] == "text":
            ids, expected = plain.text_logprobs(hf_model, tokenizer, texts[row["request"]])
            assert row["token_ids"] == [int(i) for i in ids]
            assert row["logprobs"] == pytest.approx([float(v) for v in expected], rel=1e-5)
            continue
        request = by_id[row["request"]]
        neighbor = request.neighbors[row["index"]] if row["kind"] == "neighbor" else None
        prompt = {
            "edit": lambda r=request: r.prompt.replace("{}", r.subject),
            "paraphrase": lambda r=request, i=row["index"]: r.paraphrases[i],
            "neighbor": lambda n=neighbor: n.text,
        }[row["kind"]]()
        true = neighbor.target if neighbor else request.target_true
        target = request.target_new if row["object"] == "new" else true
        ids, log_p, argmax, ranks, top = plain.score(hf_model, tokenizer, prompt, target)
        assert row["token_ids"] == [int(i) for i in ids]
        assert row["logprobs"] == pytest.approx([float(v) for v in log_p], rel=1e-5)
        assert row["argmax"] == [int(i) for i in argmax]
        assert row["ranks"] == ranks
        assert row["top"] == [tokenizer.decode([i]) for i in top]
        assert len(row["top_logprobs"]) == 5 and row["top_logprobs"][0] >= max(row["logprobs"][:1])
    assert kinds == {"edit", "paraphrase", "neighbor", "text"}


def test_a_tree_holds_each_prefix_once_and_sees_its_ancestors_only(tokenizer):
    model = EditableModel(tiny.tiny_llama())
    rows = [(5, 6, 7), (5, 6, 8, 9), (4,), (5, 6, 7)]
    tree = Tree(model, rows)
    assert tree.ids.shape == (1, 6)  # 5, 56, 567, 568, 5689, 4
    for row, path in zip(rows, tree.paths, strict=True):
        assert tree.ids[0, path].tolist() == list(row)
        assert tree.positions[0, path].tolist() == list(range(len(row)))
        seen = (tree.mask[0, 0, path[-1]] == 0).nonzero()[:, 0]
        assert sorted(seen.tolist()) == sorted(path)


@given(
    st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=6).map(tuple), min_size=1),
    st.integers(1, 30),
)
def test_tree_groups_cover_every_row_within_the_budget(rows, budget):
    groups = list(tree_groups(rows, budget))
    assert sorted(i for group in groups for i in group) == list(range(len(rows)))
    for group in groups:
        nodes = {rows[i][: n + 1] for i in group for n in range(len(rows[i]))}
        assert len(nodes) <= budget or len({rows[i] for i in group}) == 1


def test_packing_covers_every_item_once_within_the_budget():
    widths, counts = [5, 3, 9, 3, 200], [7, 7, 7, 7, 1]
    groups = list(pack(widths, counts, 100))
    assert sorted(i for group in groups for i in group) == [0, 1, 2, 3, 4]
    for group in groups:
        cost = max(widths[i] for i in group) * sum(counts[i] for i in group)
        assert cost <= 100 or len(group) == 1


@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(1, 9)), min_size=1, max_size=7),
    st.integers(20, 300),
    st.integers(0, 100),
)
def test_packing_costs_as_little_as_any_grouping(items, budget, run):
    """Of all groupings of items in the order of their widths, each within the budget."""
    widths, counts = [w for w, _ in items], [c for _, c in items]

    def cost(groups):
        return sum(
            run + sum(counts[i] for i in group) * max(widths[i] for i in group) for group in groups
        )

    def fits(group):
        padded = sum(counts[i] for i in group) * max(widths[i] for i in group)
        return len(group) == 1 or padded <= budget

    order = sorted(range(len(items)), key=lambda i: widths[i])
    cheapest = min(
        cost(groups)
        for cuts in product([False, True], repeat=len(items) - 1)
        for groups in [_cut(order, cuts)]
        if all(map(fits, groups))
    )
    found = list(pack(widths, counts, budget, run))
    assert all(map(fits, found)) and cost(found) == cheapest


def _cut(order, cuts):
    groups = [[order[0]]]
    for item, cut in zip(order[1:], cuts, strict=True):
        if cut:
            groups.append([])
        groups[-1].append(item)
    return groups


def test_packing_keeps_wide_items_away_from_narrow_ones():
    assert list(pack([2] * 20 + [6], [7] * 21, 2000, 50)) == [list(range(20)), [20]]


def test_a_layer_that_does_not_exist_is_refused(tokenizer):
    model = EditableModel(tiny.tiny_llama())
    with pytest.raises(ModelError, match=r"layer 9 does not exist: the model has layers 0\.\.4"):
        second_moments(model, tokenizer, ["a text"], [1, 9], 8)


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: (x, "attention")])
def test_hooks_read_tensors_and_tuples(wrap):
    """Blocks of older transformers return tuples, those of newer ones bare tensors."""

    class Block(torch.nn.Module):
        def forward(self, x):
            return wrap(2 * x)

    block, x = Block(), torch.arange(3.0)
    with record(block, "output") as outputs, record(block, "input") as inputs:
        block(x)
    assert torch.equal(outputs[0], 2 * x) and torch.equal(inputs[0], x)
    with leave_before(block) as seen:
        block(x)
        pytest.fail("the block must not run")
    assert torch.equal(seen[0], x)


def test_a_single_row_of_the_head_rounds_no_more_than_several():
    """Its gradient sums over the vocabulary: held against float64, alone and among others."""
    exact = EditableModel(tiny.tiny_llama(dtype=torch.float64, vocabulary=49152))
    rough = EditableModel(tiny.tiny_llama(dtype=torch.float32, vocabulary=49152))
    states = torch.randn(32, 32, generator=torch.Generator().manual_seed(0))

    def gradient(model, rows):
        hidden = rows.to(model.dtype).requires_grad_(True)
        model.log_probabilities(hidden)[:, 7].sum().backward()
        return hidden.grad.double()

    def error(rows):
        right = gradient(exact, rows)
        return float((gradient(rough, rows) - right).norm() / right.norm())

    alone = sum(error(row[None]) for row in states) / len(states)
    assert alone < 2 * error(states)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5])
def test_rows_that_only_fill_the_head_are_not_answered(rows, tokenizer):
    model = EditableModel(tiny.tiny_gpt2(dtype=torch.float64))
    states = torch.randn(rows, 32, dtype=torch.float64)
    head = model.model.get_output_embeddings()
    with record(head, "input") as seen:
        found = model.log_probabilities(states)
    right = torch.log_softmax(model.norm(states) @ head.weight.T, dim=-1)
    torch.testing.assert_close(found, right, rtol=1e-12, atol=1e-12)
    assert len(seen[0]) == max(rows, FEWEST_ROWS)


@pytest.mark.parametrize("name", ["MEMIT", "PMET", "ROME", "NA_MEMIT", "NA_PMET", "NA_ROME"])
@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_targets_are_float32_whatever_the_products_are(name, precision, tokenizer, contexts):
    """A target, its deltas and their moments; the products change it a little, and no more."""
    requests = tiny.tiny_requests()[:3]
    hyper = replace(HYPER, steps=4)

    def edited(precision):
        model = EditableModel(tiny.tiny_llama())
        identity = torch.eye(model.down_weight(0).shape[1], dtype=torch.float64)
        factors = dict.fromkeys(hyper.layers, identity)
        with moments() as kept:
            found, edits, _keys = edit_once(
                model, tokenizer, requests, Statistics(contexts, factors),
                settings_of(name, hyper, precision=precision), Silent(),
            )  # fmt: skip
        assert kept and set(kept) == {torch.float32}
        assert found.state.dtype == torch.float32
        found.state.numpy()  # what the state is written from
        assert all(np.isfinite(edits[column]).all() for column in ("p_bar", "p_hat", "loss"))
        return found.state

    exact, rough = edited("float32"), edited(precision)
    change = (rough - exact).norm() / exact.norm()
    # tf32 is float32 on a CPU
    assert change == 0 if precision != "bf16" else 1e-5 < change < 0.3


@contextmanager
def moments():
    """The types of all deltas and Adam moments of the optimisers that run inside."""
    kept = []

    class Watched(torch.optim.Adam):
        def step(self, *arguments):
            super().step(*arguments)
            for delta, state in self.state.items():
                kept.extend([delta.dtype, state["exp_avg"].dtype, state["exp_avg_sq"].dtype])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, "Adam", Watched)
        yield kept


def test_a_solved_request_takes_part_with_its_keys(tokenizer, requests):
    """I36: it asks for nothing more, but the others have to leave its key alone."""
    settings = settings_of("MEMIT", replace(HYPER, layers=[2])).spread
    identity = covariance_write({2: torch.eye(64, dtype=torch.float64)})

    def written(chosen):
        model = EditableModel(tiny.tiny_llama(dtype=torch.float64))
        rows = [[subject_row(tokenizer, "{}", r.prompt, r.subject)] for r in chosen]
        before = model.down_weight(2).clone()
        bare = KeyRows(model, [own[0] for own in rows], 400, 2)
        targets, keys = bare.values(2, "block"), bare.keys(2)
        targets[0] += 1.0  # only the first is to move
        spread(model, rows, targets, identity, settings)
        return model.down_weight(2) - before, keys

    alone, _ = written(requests[:1])
    beside, keys = written(requests[:2])
    assert (beside @ keys[1]).norm() < 0.5 * (alone @ keys[1]).norm()
