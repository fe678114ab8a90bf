"""One iteration of a run: OPTIMIZATION on the weights before it, SPREAD, and p-bar and p-hat.

p-hat is measured at the end of the same iteration, forward only, with the same contexts (SPEC
C.3), so that the last iteration has one too and no extra iteration is needed.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedTokenizerBase

from modeledit.data.requests import Request
from modeledit.editing.null_space import NullSpace
from modeledit.editing.optimization import Failure, Targets, TargetSettings, optimize, perplexities
from modeledit.editing.problem import build_problem
from modeledit.editing.rome import edit_in_turn
from modeledit.editing.spread import NotFinite, Spread, SpreadSettings, spread
from modeledit.editing.writes import CovarianceWrite, Earlier, NullSpaceWrite, Write
from modeledit.lm.model import EditableModel
from modeledit.lm.tokens import Tokenization, subject_row
from modeledit.study.hyperparameters import (
    Hyperparameters,
    NullSpaceHyperparameters,
    SpreadHyperparameters,
)
from modeledit.study.methods import Method
from modeledit.study.settings import Precision
from modeledit.study.switches import EditingSwitches

log = logging.getLogger(__name__)


class Progress(Protocol):
    """What is told how far OPTIMIZATION is, as tqdm's bars are."""

    def update(self, n: int) -> object: ...

    def set_postfix(self, *, loss: str, stopped: str, refresh: bool) -> object: ...


@dataclass(frozen=True)
class EditSettings:
    """How a method edits a model: its description, the model's hyperparameters, the switches."""

    method: Method
    hyper: Hyperparameters
    switches: EditingSwitches
    precision: Precision  # of OPTIMIZATION's matrix products
    token_budget: int  # tokens that run through the model at once

    @property
    def targets(self) -> TargetSettings:
        """OPTIMIZATION's settings."""
        return TargetSettings(
            layer=max(self.hyper.layers),
            sites=self.method.sites,
            lr=self.hyper.lr,
            steps=self.hyper.steps,
            clamp=self.hyper.clamp,
            weight_decay=self.hyper.weight_decay,
            kl_factor=self.hyper.kl_factor,
            argmax_stop=self.method.argmax_stop,
            nll_factor=self.hyper.nll_factor,
            neighbor_weight=self.switches.neighbor_weight,
            neighbor_length=self.switches.neighbor_length,
            precision=self.precision,
        )

    @property
    def spread(self) -> SpreadSettings:
        """SPREAD's settings."""
        return SpreadSettings(
            layers=tuple(sorted(self.hyper.layers)),
            residual_site=self.method.residual_site,
            sharing=self.method.sharing,
        )

    def write(self, statistics: "Statistics") -> Write:
        """How it writes a layer; TypeError for an algorithm that does not spread."""
        keeps = self.method.keys_kept(self.switches.key_cache) != "none"
        if isinstance(self.hyper, NullSpaceHyperparameters):
            l2 = self.hyper.l2 / self.method.l2_divisor
            return NullSpaceWrite(statistics.null_spaces, l2, statistics.earlier, keeps)
        if isinstance(self.hyper, SpreadHyperparameters):
            weight = self.hyper.covariance_weight
            return CovarianceWrite(statistics.factors, weight, statistics.earlier, keeps)
        raise TypeError(f"{self.method.name} has no weight of other keys: it does not spread")

    def tokenization(self, model: EditableModel) -> Tokenization:
        """How targets become labels on a model (SPEC A.4)."""
        space = self.method.legacy_space == "always" or model.architecture.legacy_space
        kind = self.switches.target_tokenization
        return Tokenization(kind, space=space, drops=self.method.legacy_drop)

    def neighbor_contexts(self, contexts: Sequence[str]) -> list[str]:
        """Contexts of a neighbor's rows."""
        return self.method.neighbor_contexts(contexts, self.switches.nap_prefixes)


@dataclass(frozen=True)
class Statistics:
    """What editing knows of the unedited model, and of earlier edits.

    `contexts`, the bare one first; `factors[layer]`, the Cholesky factor of C_l, and
    `null_spaces[layer]`, each empty where the method writes without it; `earlier[layer]`, keys that
    earlier edits left (c, d_mlp), of those that the method keeps in place.
    """

    contexts: Sequence[str]
    factors: Mapping[int, torch.Tensor] = field(default_factory=dict)
    null_spaces: Mapping[int, NullSpace] = field(default_factory=dict)
    earlier: Earlier = field(default_factory=dict)


class Edited(NamedTuple):
    """What an iteration found: targets, the per-request log, and keys (m, d_mlp) by layer.

    The keys are those that later edits may have to keep in place; none of a method that forgets
    them, nor where nothing was written.
    """

    targets: Targets
    edits: pd.DataFrame
    keys: dict[int, torch.Tensor]


def edit_once(
    model: EditableModel,
    tokenizer: PreTrainedTokenizerBase,
    requests: Sequence[Request],
    statistics: Statistics,
    settings: EditSettings,
    progress: Progress,
    before: Targets | None = None,
) -> Edited:
    """Edit `model` in place with all `requests` once.

    `progress` is told the mean last loss, and the share that stopped by a rule before the steps ran
    out. A method that repeats SPREAD alone writes the targets `before` again, without OPTIMIZATION;
    one that repeats OPTIMIZATION alone begins at their deltas (see `stages`). The log has one row
    per request with the columns of SPEC J.1.

    Where a target or an update is not finite the model is left as it was: `failure` of the targets
    says why, and p-bar of the requests that it is due to (of all, if of none) is infinite, so that
    no mean over them can pass for a converged one.
    """
    method, contexts = settings.method, statistics.contexts
    token_budget = settings.token_budget
    tokenization = settings.tokenization(model)
    neighbor_contexts = settings.neighbor_contexts(contexts)
    problems = [
        build_problem(
            tokenizer,
            request,
            contexts,
            neighbor_contexts,
            method.n_neighbors,
            tokenization,
        )
        for request in requests
    ]
    how = settings.targets

    seen = np.zeros(3)  # requests, those stopped by rule, sum of their last losses

    def on_done(count: int, by_rule: int, loss: float) -> None:
        seen[:] += count, by_rule, count * loss
        mean, share = seen[2] / seen[0], seen[1] / seen[0]
        progress.set_postfix(loss=f"{mean:.3f}", stopped=f"{share:.0%}", refresh=False)
        progress.update(count)

    key_rows = [
        [subject_row(tokenizer, c, r.prompt, r.subject) for c in contexts] for r in requests
    ]
    if method.write == "rank_one":
        factor = statistics.factors[how.layer] if settings.switches.rome_covariance else None
        targets = edit_in_turn(model, problems, key_rows, how, factor, token_budget, on_done)
    elif before is not None and method.repeats == "spread":
        targets = before
        progress.update(len(requests))
    else:
        start = None if before is None else before.deltas
        targets = optimize(model, problems, how, token_budget, on_done, start=start)
    log.info(
        "targets found: mean p-bar %.3f, mean steps %.1f",
        np.mean(targets.numbers["p_bar"]),
        np.mean(targets.numbers["steps"]),
    )
    unknown = torch.full((len(requests),), math.nan)
    wrote = Spread(unknown, unknown, {})
    if method.write == "spread":
        try:
            wrote = spread(
                model,
                key_rows,
                targets.state,
                settings.write(statistics),
                settings.spread,
                token_budget,
                lambda layer, residual, update: log.info(
                    "layer %d: mean residual %.3f, relative update %.4f", layer, residual, update
                ),
            )
        except NotFinite as error:
            targets = replace(targets, failure=Failure(str(error), tuple(error.rows)))
    if targets.failure:
        for i in targets.failure.requests or range(len(requests)):
            for name in ("p_bar", "p_bar_legacy"):
                targets.numbers[name][i] = math.inf
    p_hat, p_hat_legacy = perplexities(model, problems, how, token_budget)
    edits = pd.DataFrame(
        {
            "request": [r.id for r in requests],
            "n_target_tokens": [len(p.edit_rows[0].labels) for p in problems],
            "stop_reason": targets.stop_reason,
            **targets.numbers,
            "p_hat": p_hat,
            "p_hat_legacy": p_hat_legacy,
            "residual_before": wrote.residual_before.tolist(),
            "residual": wrote.residual.tolist(),
            "neighbors": [
                " | ".join(n.text for n in r.editing_neighbors[: method.n_neighbors])
                for r in requests
            ],
        }
    )
    return Edited(targets, edits, wrote.keys)
