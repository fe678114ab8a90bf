"""What may not grow with the number of requests, and where SPREAD's two ways to solve meet."""

import weakref
from contextlib import contextmanager

import pytest
import torch

from modeledit.editing import spread as spread_module
from modeledit.editing.least_squares import (
    fewer_among_requests,
    least_squares_update,
    update_among_key_rows,
    update_among_requests,
)
from modeledit.editing.spread import WIDENED, KeyRows, mean_keys
from modeledit.lm import scoring
from modeledit.lm.hooks import leave_before
from modeledit.lm.model import EditableModel
from modeledit.lm.tokens import Row
from modeledit.lm.trees import Below, Tree
from tests.presets import CORRECTED
from tests.reference import models as tiny

D, D_MLP = 40, 300  # more rows of a key than are multiplied at once
CROSSING = next(m for m in range(1, D_MLP) if not fewer_among_requests(D, m, D_MLP))


@pytest.fixture(scope="module")
def model():
    return EditableModel(tiny.tiny_llama())


@pytest.fixture(scope="module")
def rows():
    random = torch.Generator().manual_seed(0)
    drawn = torch.randint(2, 400, (60, 9), generator=random)
    return [Row(tuple(ids), subject=5 + i % 4) for i, ids in enumerate(drawn.tolist())]


@pytest.mark.parametrize(
    "m", [CROSSING - 1, CROSSING, CROSSING + 1, D_MLP - 1, D_MLP, D_MLP + 1, 2 * D_MLP]
)
def test_both_ways_to_solve_give_the_same_update(m):
    random = torch.Generator().manual_seed(m)
    root, keys, residual = (
        torch.randn(*shape, generator=random, dtype=torch.float64)
        for shape in ((D_MLP, 2 * D_MLP), (D_MLP, m), (D, m))
    )
    given = torch.linalg.cholesky(root @ root.T / (2 * D_MLP)), keys, residual, 7.0
    among_requests, among_key_rows = update_among_requests(*given), update_among_key_rows(*given)
    error = (among_requests - among_key_rows).norm() / among_key_rows.norm()
    assert error < 1e-10
    used = least_squares_update(*given)
    torch.testing.assert_close(used, among_key_rows, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("d", "d_mlp"), [(576, 1536), (1600, 6400), (4096, 16384), (4096, 11008), (32, 64)]
)
def test_the_ways_to_solve_cross_once_and_before_the_width(d, d_mlp):
    few = [fewer_among_requests(d, m, d_mlp) for m in range(1, 2 * d_mlp)]
    crossing = few.index(False)
    assert all(few[:crossing]) and not any(few[crossing:])
    assert d_mlp / 3 < crossing < d_mlp


def test_keys_of_requests_are_widened_in_parts_without_a_trace():
    random = torch.Generator().manual_seed(1)
    keys = torch.randn((2 * WIDENED + 3) * 6, 50, generator=random)
    whole = keys.double().view(-1, 6, 50)
    expected = (whole[:, 0] + whole[:, 1:].mean(dim=1)) / 2
    assert torch.equal(mean_keys(keys, 6), expected)
    assert torch.equal(mean_keys(keys, 1), keys.double())


def test_keys_keep_nothing_but_what_is_at_the_subjects(model, rows, monkeypatch):
    seen: list[weakref.ref] = []
    alive: list[int] = []

    @contextmanager
    def watched(module):
        alive.append(sum(tensor() is not None for tensor in seen))
        with leave_before(module) as inputs:
            yield inputs
        seen.extend(weakref.ref(tensor) for tensor in inputs)

    monkeypatch.setattr(spread_module, "leave_before", watched)
    key_rows = KeyRows(model, rows, 64, 2)
    assert len(key_rows.trees) > 5
    keys = key_rows.keys(2)
    assert keys.shape == (len(rows), 64)
    assert max(alive) <= 1  # of the tree before


def test_rows_of_any_order_have_their_own_keys(model, rows):
    together, first = KeyRows(model, rows, 64, 2), KeyRows(model, rows[:1], 64, 2)
    torch.testing.assert_close(together.keys(2)[:1], first.keys(2), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        together.values(3, "mlp")[:1], first.values(3, "mlp"), rtol=1e-4, atol=1e-4
    )


def test_a_tree_that_is_kept_holds_no_mask_of_numbers(model, rows):
    tree = Tree(model, [row.ids for row in rows[:3]])
    nodes = tree.ids.shape[1]
    held = [value for value in vars(tree).values() if isinstance(value, torch.Tensor)]
    assert sum(value.nbytes for value in held) <= nodes**2 + 2 * 8 * nodes
    assert tree.mask.dtype == model.dtype and tree.mask.shape == (1, 1, nodes, nodes)


def test_the_places_of_rows_are_listed_once(model, rows):
    below = Below(model, [row.ids for row in rows], 64, 2)
    places = below.places
    for i in (0, 41):
        tree = Tree(model, [rows[i].ids])
        number, path = places[i]
        expected = below.hidden[number][0, path]
        assert torch.equal(below.hidden_of([i], tree)[0, tree.paths[0]], expected)
    assert below.places is places


def test_scores_become_a_table_in_parts_without_a_trace(model, monkeypatch):
    given = (model, tiny.tiny_tokenizer(), tiny.tiny_requests(), CORRECTED, ["Lyon is a city."])
    whole = scoring.score(*given)
    monkeypatch.setattr(scoring, "TABLE_ROWS", 7)
    parts = scoring.score(*given)
    assert parts.equals(whole) and parts.num_rows > 14
    assert all(column.num_chunks == 1 for column in parts.columns)
