"""Updates inside the null space: all forms are the dense solve, and known limits come out."""

import pytest
import torch

from modeledit.editing.least_squares import least_squares_update
from modeledit.editing.null_space import NullSpace, null_space, projected_update, rank
from modeledit.study.hyperparameters import Cut

D, D_MLP = 8, 24


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=random, dtype=torch.float64)


def covariance() -> torch.Tensor:
    """With eigenvalues from 1e-4 to 10."""
    turn, _ = torch.linalg.qr(draw(D_MLP, D_MLP, seed=1))
    return turn @ torch.diag(torch.logspace(-4, 1, D_MLP, dtype=torch.float64)) @ turn.T


def by_rank(n: int) -> NullSpace:
    return null_space(covariance(), Cut(kind="rank", value=n))


def update(null, keys, residual, earlier, l2) -> torch.Tensor:
    """The update of keys (d_mlp, m) beside earlier ones, (d_mlp, c), none of them projected yet."""
    nothing = torch.zeros(len(residual), earlier.shape[1], dtype=residual.dtype)
    projected = null.project(torch.cat([earlier, keys], dim=1))
    return projected_update(null, projected, torch.cat([nothing, residual], dim=1), l2)


def projector(null: NullSpace) -> torch.Tensor:
    return null.project(torch.eye(D_MLP, dtype=torch.float64))


def released(null, keys, residual, earlier, l2) -> torch.Tensor:
    """[P (K K^T + E E^T) + L2 I] X = P K R^T, dW = X^T: the dense solve of the release."""
    p = projector(null)
    left = p @ (keys @ keys.T + earlier @ earlier.T) + l2 * torch.eye(len(p), dtype=p.dtype)
    return torch.linalg.solve(left, p @ keys @ residual.T).T


@pytest.mark.parametrize("n", [3, 11, 12, 13, 20, D_MLP])
@pytest.mark.parametrize(("m", "c"), [(2, 0), (2, 5), (6, 30), (40, 3)])
def test_every_form_is_the_dense_solve(n, m, c):
    null = by_rank(n)
    assert null.rank == n and null.basis.shape[1] == min(n, D_MLP - n)
    given = draw(D_MLP, m, seed=2), draw(D, m, seed=3), draw(D_MLP, c, seed=4)
    found = update(null, *given, 0.7)
    torch.testing.assert_close(found, released(null, *given, 0.7), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("n", [5, 20])
def test_other_keys_are_left_alone(n):
    """DeltaW of a key outside of the null space is nothing, and DeltaW has the rank of the keys."""
    found = update(by_rank(n), draw(D_MLP, 4), draw(D, 4), draw(D_MLP, 2, seed=5), 10)
    _, vectors = torch.linalg.eigh(covariance())
    assert (found @ vectors[:, n:]).abs().max() < 1e-12 < found.abs().max()
    assert torch.linalg.matrix_rank(found) == 4


def test_the_projector_is_one():
    for n in (0, 7, 12, 19, D_MLP):
        p = projector(by_rank(n))
        torch.testing.assert_close(p @ p, p, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(p, p.T)
        assert float(p.trace()) == pytest.approx(n)


def test_without_a_projector_it_is_ridge_regression_and_memit():
    everything = null_space(covariance(), Cut(kind="threshold", value=100))
    keys, residual, none = draw(D_MLP, 5, seed=2), draw(D, 5, seed=3), draw(D_MLP, 0)
    gram = keys.T @ keys + 3 * torch.eye(5, dtype=torch.float64)
    ridge = residual @ torch.linalg.solve(gram, keys.T)
    found = update(everything, keys, residual, none, 3)
    torch.testing.assert_close(found, ridge, rtol=1e-9, atol=1e-12)
    # Earlier keys with the moments of weight * C, and no L2: MEMIT's update.
    factor = torch.linalg.cholesky(covariance())
    memit = least_squares_update(factor, keys, residual, 15.0)
    found = update(everything, keys, residual, 15.0**0.5 * factor, 0)
    torch.testing.assert_close(found, memit, rtol=1e-7, atol=1e-10)


def test_what_belongs_to_the_null_space():
    values = torch.tensor([0.001, 0.01, 0.02, 0.5, 1.0], dtype=torch.float64)
    for kind, value, expected in (
        ("threshold", 0.02, 2),
        ("trace", 0.0073, 2),  # (0.001 + 0.01) / 1.531 = 0.00718
        ("rank", 3, 3),
        ("rank", 9, 5),
    ):
        assert rank(values, Cut(kind=kind, value=value)) == expected
    null = null_space(torch.diag(values), Cut(kind="threshold", value=0.02))
    assert null.leakage == pytest.approx(0.011 / 1.531)


def iterated(null, keys, targets, l2, policy, n):
    """Residual after n iterations of one layer whose keys and targets stay as they are."""
    weight = torch.zeros(D, D_MLP, dtype=torch.float64)
    earlier = keys[:, :0]
    for _ in range(n):
        weight += update(null, keys, targets - weight @ keys, earlier, l2)
        if policy == "released":
            earlier = torch.cat([earlier, keys], dim=1)
    return targets - weight @ keys


@pytest.mark.parametrize("n", [1, 2, 5])
def test_iterating_as_released_is_lowering_l2(n):
    """With the batch's own keys in the cache n iterations are one solve with L2 / n; without them
    the residual falls geometrically."""
    null = by_rank(14)
    keys, targets, l2 = draw(D_MLP, 4, seed=2), draw(D, 4, seed=3), 6.0
    gram = keys.T @ null.project(keys)
    inverse = torch.linalg.inv
    one = torch.eye(4, dtype=torch.float64)
    harmonic = targets @ (l2 * inverse(n * gram + l2 * one))
    geometric = targets @ torch.linalg.matrix_power(l2 * inverse(gram + l2 * one), n)
    for policy, expected in (("released", harmonic), ("none", geometric)):
        found = iterated(null, keys, targets, l2, policy, n)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    once = targets - update(null, keys, targets, keys[:, :0], l2 / n) @ keys
    torch.testing.assert_close(once, harmonic, rtol=1e-9, atol=1e-12)
