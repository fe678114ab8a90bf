"""ROME: find and write one request after another, each by an exact rank-one update (SPEC A.8).

Request j is optimised on the model that already carries requests 1..j-1 of the same iteration. What
those cannot have changed - everything in front of the edited matrix - is computed for many requests
together; the edited block and those above it run for each request by itself.
"""

from collections.abc import Sequence

import torch

from modeledit.models import EditableModel
from modeledit.prompts import Problem, Row
from modeledit.rows import Below
from modeledit.spread import KeyRows
from modeledit.targets import OnDone, Targets, TargetSettings, join, optimize, rows_of

TOGETHER = 32  # requests whose lower blocks run together: their hidden states stay in memory


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
    factor: torch.Tensor | None,
    token_budget: int,
    on_done: OnDone = lambda count, by_rule, loss: None,
) -> Targets:
    """Edit `model` in place with one request after another; return what each was edited to.

    `key_rows[i]` holds request i's rows, the bare context first. The direction is the mean key over
    the contexts, as in the code behind the paper's tables, or C^-1 times it where the Cholesky
    `factor` of C (d_mlp, d_mlp) is given, as in ROME's derivation (switch I9).
    """
    layer = settings.layer
    down = model.part(layer, "down")
    if factor is not None:
        factor = torch.as_tensor(factor, device=model.device).double()
    parts = []
    for start in range(0, len(problems), TOGETHER):
        chosen = range(start, min(start + TOGETHER, len(problems)))
        rows = [[row.ids for row in rows_of(problems[i])[0]] for i in chosen]
        with torch.no_grad():
            below = Below(model, [ids for own in rows for ids in own], token_budget, layer)
            contexts = KeyRows(model, [r for i in chosen for r in key_rows[i]], token_budget, layer)
            keys = contexts.keys(layer).split([len(key_rows[i]) for i in chosen])
        first = 0
        for i, own, key in zip(chosen, rows, keys, strict=True):
            found = optimize(model, [problems[i]], settings, token_budget, on_done, below, first)
            first += len(own)
            with torch.no_grad():
                direction = key.double().mean(dim=0)
                if factor is not None:
                    direction = torch.cholesky_solve(direction[:, None], factor)[:, 0]
                target = found.state[0].to(model.device)
                # All contexts' rows: the kernel for a single one rounds more (GPT-2's Conv1D).
                update = rank_one_update(key[0], direction, down(key)[0], target)
                model.write_down_weight(layer, model.down_weight(layer).double() + update)
            parts.append(found)
    return join(parts, range(len(parts)))
