"""ROME: find and write one request after another, each by an exact rank-one update (SPEC A.8).

Request j is optimised on the model that already carries requests 1..j-1 of the same iteration. What
those cannot have changed - everything in front of the edited matrix - is computed for many requests
together; the edited block and those above it run for each request by itself.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from modeledit.editing.optimization import (
    BelowRows,
    Failure,
    OnDone,
    Targets,
    TargetSettings,
    join,
    not_reached,
    optimize,
    rows_of,
)
from modeledit.editing.problem import Problem
from modeledit.editing.spread import KeyRows, NotFinite, check_finite, new_weight
from modeledit.lm.model import EditableModel
from modeledit.lm.tokens import Row
from modeledit.lm.trees import Below

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
    `factor` of C (d_mlp, d_mlp) is given, as in ROME's derivation (switch I9). All requests are
    written or none: where a target or an update is not finite the model is left as it was, and
    `failure` says why; the requests from that one on have no target (NaN).
    """
    layer = settings.layer
    down = model.part(layer, "down")
    before = model.down_weight(layer).to("cpu", copy=True)
    if factor is not None:
        factor = torch.as_tensor(factor, device=model.device).double()
    parts: list[Targets] = []
    failure = None
    for start in range(0, len(problems), TOGETHER):
        chosen = range(start, min(start + TOGETHER, len(problems)))
        rows = [[row.ids for row in rows_of(problems[i])[0]] for i in chosen]
        with torch.no_grad():
            below = Below(model, [ids for own in rows for ids in own], token_budget, layer)
            contexts = KeyRows(model, [r for i in chosen for r in key_rows[i]], token_budget, layer)
            keys = contexts.keys(layer).split([len(key_rows[i]) for i in chosen])
        first = 0
        for i, own, key in zip(chosen, rows, keys, strict=True):
            known = BelowRows(below, first)
            found = optimize(model, [problems[i]], settings, token_budget, on_done, known)
            first += len(own)
            parts.append(found)
            try:
                with torch.no_grad():
                    check_finite(found.state, "the target")
                    direction = key.double().mean(dim=0)
                    if factor is not None:
                        direction = torch.cholesky_solve(direction[:, None], factor)[:, 0]
                    target = found.state[0].to(model.device)
                    # All contexts' rows: the kernel for a single one rounds more (Conv1D).
                    update = rank_one_update(key[0], direction, down(key)[0], target)
                    new = new_weight(model.down_weight(layer), update, layer)
            except NotFinite as error:
                failure = Failure(str(error), (i,))
                break
            model.write_down_weight(layer, new)
        if failure:
            model.write_down_weight(layer, before)
            parts.append(not_reached(len(problems) - len(parts), parts[0]))
            break
    return replace(join(parts, range(len(problems))), failure=failure)
