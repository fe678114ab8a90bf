"""Least squares with the covariance of other keys (MEMIT, PMET; SPEC A.7, step 4)."""

import torch

ROWS = 256  # of a product of which only one half is computed


def least_squares_update(
    factor: torch.Tensor, keys: torch.Tensor, residual: torch.Tensor, weight: float
) -> torch.Tensor:
    """DeltaW = R K^T (weight C + K K^T)^-1, (d, d_mlp), float64 (SPEC A.7, step 4).

    `factor` is the Cholesky factor of C, (d_mlp, d_mlp), `keys` K (d_mlp, m), `residual` R (d, m).
    The inverse is taken among the requests or among the rows of a key, whichever is less work.
    """
    few = fewer_among_requests(len(residual), keys.shape[1], len(keys))
    solve = update_among_requests if few else update_among_key_rows
    return solve(factor.double(), keys.double(), residual.double(), weight)


def fewer_among_requests(d: int, m: int, d_mlp: int) -> bool:
    """Whether `update_among_requests` takes fewer operations than `update_among_key_rows`.

    A product of (a, b) and (b, c) takes 2abc, a Cholesky factor n^3/3, a triangular solve n^2 for
    each right-hand side. R K^T has no share in the choice: both multiply R once.
    """
    among_requests = (
        2 * d_mlp**2 * m  # (weight C)^-1 K: two triangular solves
        + 2 * d_mlp * m**2  # K^T of it
        + m**3 / 3  # its factor
        + 2 * m**2 * d_mlp  # two triangular solves
    )
    among_key_rows = (
        2 / 3 * d_mlp**3  # L L^T, one half, without the zeros above the diagonal of L
        + d_mlp**2 * m  # K K^T, one half
        + d_mlp**3 / 3  # the factor of their sum
        + 2 * d_mlp**2 * d  # two triangular solves
    )
    return among_requests <= among_key_rows


def update_among_requests(
    factor: torch.Tensor, keys: torch.Tensor, residual: torch.Tensor, weight: float
) -> torch.Tensor:
    """`least_squares_update` with the inverse of an (m, m) matrix (Woodbury), all in float64.

    Nothing of the size of C has to be factorised again.
    """
    solved = torch.cholesky_solve(keys, factor) / weight  # (weight C)^-1 K
    small = keys.T @ solved
    small.diagonal().add_(1.0)
    return residual @ torch.cholesky_solve(solved.T, torch.linalg.cholesky(small))


def update_among_key_rows(
    factor: torch.Tensor, keys: torch.Tensor, residual: torch.Tensor, weight: float
) -> torch.Tensor:
    """`least_squares_update` with the inverse of weight C + K K^T itself, all in float64.

    Only one half of this sum is computed, some rows at a time, and mirrored.
    """
    whole = torch.empty_like(factor)
    for start in range(0, len(whole), ROWS):
        stop = min(start + ROWS, len(whole))
        rows = slice(start, stop)
        whole[rows, :stop] = weight * (factor[rows, :stop] @ factor[:stop, :stop].T)
        whole[rows, :stop] += keys[rows] @ keys[:stop].T
        whole[:start, rows] = whole[rows, :start].T
    return torch.cholesky_solve(keys @ residual.T, torch.linalg.cholesky(whole)).T
