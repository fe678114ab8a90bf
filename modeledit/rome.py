"""ROME: find and write one request after another, each by an exact rank-one update (SPEC A.8).

Request j is optimised on the model that already carries requests 1..j-1 of the same iteration, so
nothing can be shared between requests; within one, all contexts run together.
"""

from collections.abc import Callable, Sequence

import torch

from modeledit.models import EditableModel
from modeledit.prompts import Problem, Row
from modeledit.spread import KeyRows
from modeledit.targets import Targets, TargetSettings, join, optimize


def rank_one_update(
    key: torch.Tensor, direction: torch.Tensor, output: torch.Tensor, target: torch.Tensor
) -> torch.Tensor:
    """DeltaW (d, d_mlp) along `direction` that maps `key` (d_mlp) from `output` to `target` (d).

    u = direction / |direction|, DeltaW = (target - output) u^T / (key . u); float64 (SPEC A.8).
    """
    u = direction.double() / direction.double().norm()
    change = (target.double() - output.double()) / (key.double() @ u)
    return torch.outer(change, u)


def edit_in_turn(
    model: EditableModel,
    problems: Sequence[Problem],
    key_rows: Sequence[Sequence[Row]],
    settings: TargetSettings,
    covariance: torch.Tensor | None,
    token_budget: int,
    on_done: Callable[[int, float], None] = lambda count, loss: None,
) -> Targets:
    """Edit `model` in place with one request after another; return what each was edited to.

    `key_rows[i]` holds request i's rows, the bare context first. The direction is the mean key over
    the contexts, as in the code behind the paper's tables, or C^-1 times it where `covariance` C
    (d_mlp, d_mlp) is given, as in ROME's derivation (switch I9).
    """
    layer = settings.layer
    factor = None
    if covariance is not None:
        factor = torch.linalg.cholesky(covariance.to(model.device).double())
    parts = []
    for problem, rows in zip(problems, key_rows, strict=True):
        found = optimize(model, [problem], settings, token_budget, on_done)
        with torch.no_grad():
            contexts = KeyRows(model, rows, token_budget, layer)
            keys = contexts.keys(layer)
            output = contexts.values(layer, "mlp")[0]
            direction = keys.double().mean(dim=0)
            if factor is not None:
                direction = torch.cholesky_solve(direction[:, None], factor)[:, 0]
            target = found.state[0].to(model.device)
            update = rank_one_update(keys[0], direction, output, target)
            weight = model.down_weight(layer)
            model.write_down_weight(layer, weight.double() + update)
        parts.append(found)
    return join(parts, range(len(parts)))
