"""Iterating one of the two stages alone: what an iteration takes over from the one before.

The paper explains the gain of iterating by SPREAD: p-bar hardly changes from one iteration to the
next, p-hat approaches it (sections 3.1 and 6.1; SPEC I31, J.3). To test that, at k > 1

- SPREAD_ methods keep the targets that OPTIMIZATION found at k = 1 and repeat SPREAD on the changed
  weights, which recomputes the residual;
- OPTIMIZATION_ methods go on from the deltas of iteration k-1 on the unedited weights, and SPREAD
  writes what was found into the unedited weights: k rounds of OPTIMIZATION, one SPREAD.

Both are their plain algorithm at k = 1. Everything is read from files of iteration k-1, so a run
that was killed goes on to the same bytes.
"""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

import torch

from modeledit.data.requests import Request
from modeledit.editing.matrix_names import TARGETS, delta_name, site_of
from modeledit.editing.optimization import Targets
from modeledit.evaluation.schemas import EDITS
from modeledit.io.files import StateError
from modeledit.io.matrices import read_matrices

_NOT_NUMBERS = (
    "request",
    "n_target_tokens",
    "stop_reason",
    "p_hat",
    "p_hat_legacy",
    "residual_before",
    "residual",
    "neighbors",
)


def stored_targets(targets: Targets, repeats: str) -> dict[str, torch.Tensor]:
    """Arrays of targets.safetensors: (m, d) target states; the deltas too if one goes on from them.

    Of PMET the attention's delta is among them, which no target state holds.
    """
    deltas = targets.deltas if repeats == "optimization" else {}
    return {TARGETS: targets.state} | {delta_name(site): delta for site, delta in deltas.items()}


def targets_before(
    path: Path, log: Path, expected: Mapping[str, str], requests: Sequence[Request]
) -> Targets:
    """What OPTIMIZATION found until iteration k-1, as iteration k keeps it, or goes on from it.

    `path` is the targets.safetensors of iteration k-1, `log` its edits.parquet. No step is made,
    and the stop reason is "kept". p_bar, the losses and the norms stay those of the targets as they
    were found on theta_1; they are not measured again. p_init is p-hat of iteration k-1: the same
    rows on the same weights. `deltas` are those stored. Raises StateError if the files belong to
    another run or to other requests.
    """
    arrays = {name: torch.from_numpy(a) for name, a in read_matrices(path, expected).items()}
    edits = EDITS.read(log)
    ids = [request.id for request in requests]
    pairs = enumerate(zip_longest(edits["request"].tolist(), ids), start=1)
    if wrong := next((place for place in pairs if place[1][0] != place[1][1]), None):
        number, (found, wanted) = wrong
        raise StateError(
            f"{log}: edit {number} of {len(edits)} is of request {found}, this run's {number} of "
            f"{len(ids)} is {wanted}; delete the file to compute it again"
        )
    numbers = {str(name): edits[name].tolist() for name in edits if name not in _NOT_NUMBERS}
    numbers |= {
        "steps": [0] * len(ids),
        "p_init": edits["p_hat"].tolist(),
        "p_init_legacy": edits["p_hat_legacy"].tolist(),
    }
    state = arrays.pop(TARGETS)
    deltas = {site_of(name): array for name, array in arrays.items()}
    return Targets(state, numbers, ["kept"] * len(ids), deltas)
