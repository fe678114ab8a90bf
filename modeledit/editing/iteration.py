"""One iteration of a run: OPTIMIZATION on the weights before it, SPREAD, and p-bar and p-hat.

p-hat is measured at the end of the same iteration, forward only, with the same contexts (SPEC
C.3), so that the last iteration has one too and no extra iteration is needed.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from modeledit.data.requests import Request
from modeledit.editing.optimization import Failure, Targets, TargetSettings, optimize, perplexities
from modeledit.editing.problem import build_problem
from modeledit.editing.rome import edit_in_turn
from modeledit.editing.spread import NotFinite, SpreadSettings, spread
from modeledit.lm.model import EditableModel
from modeledit.lm.tokens import Tokenization, subject_row
from modeledit.study.methods import Method

log = logging.getLogger(__name__)


def target_settings(
    method: Method, hyper: Mapping, switches: Mapping, precision: str = "float32"
) -> TargetSettings:
    """OPTIMIZATION's settings from a method, a model's hyperparameters and the switches."""
    return TargetSettings(
        layer=max(hyper["layers"]),
        sites=method.sites,
        lr=hyper["lr"],
        steps=hyper["steps"],
        clamp=hyper["clamp"],
        weight_decay=hyper["weight_decay"],
        kl_factor=hyper["kl_factor"],
        argmax_stop=method.argmax_stop,
        nll_factor=hyper.get("nll_factor", 1.0),
        neighbor_weight=switches["neighbor_weight"],
        neighbor_length=switches["neighbor_length"],
        precision=precision,
    )


def tokenization_of(method: Method, model: EditableModel, kind: str) -> Tokenization:
    """How a method's targets become labels on a model (SPEC A.4)."""
    space = method.legacy_space == "always" or model.architecture.legacy_space
    return Tokenization(kind, space=space, drops=method.legacy_drop)


def spread_settings(method: Method, hyper: Mapping) -> SpreadSettings:
    """SPREAD's settings from a method and a model's hyperparameters."""
    return SpreadSettings(
        layers=tuple(sorted(hyper["layers"])),
        covariance_weight=hyper["covariance_weight"],
        residual_site=method.residual_site,
        sharing=method.sharing,
    )


def edit_once(
    model: EditableModel,
    tokenizer,
    requests: Sequence[Request],
    contexts: Sequence[str],
    factors: Mapping[int, torch.Tensor],
    method: Method,
    hyper: Mapping,
    switches: Mapping,
    token_budget: int,
    progress,
    precision: str = "float32",
    before: Targets | None = None,
) -> tuple[Targets, pd.DataFrame]:
    """Edit `model` in place with all `requests` once; return the targets and the per-request log.

    `contexts` starts with the bare one; `factors[layer]` are Cholesky factors of C_l. `progress`
    offers update(n) and set_postfix(loss=..., stopped=...), as tqdm does: the mean last loss, and
    the share that stopped by a rule before the steps ran out. A method that repeats SPREAD alone
    writes the targets `before` again, without OPTIMIZATION; one that repeats OPTIMIZATION alone
    begins at their deltas (see `stages`). The log has one row per request with the columns of
    SPEC J.1.

    Where a target or an update is not finite the model is left as it was: `failure` of the targets
    says why, and p-bar of the requests that it is due to (of all, if of none) is infinite, so that
    no mean over them can pass for a converged one.
    """
    tokenization = tokenization_of(method, model, switches["target_tokenization"])
    neighbor_contexts = method.neighbor_contexts(contexts, switches["nap_prefixes"])
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
    settings = target_settings(method, hyper, switches, precision)

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
        factor = factors[settings.layer] if switches["rome_covariance"] else None
        targets = edit_in_turn(model, problems, key_rows, settings, factor, token_budget, on_done)
    elif before is not None and method.repeats == "spread":
        targets = before
        progress.update(len(requests))
    else:
        start = None if before is None else before.deltas
        targets = optimize(model, problems, settings, token_budget, on_done, start=start)
    log.info(
        "targets found: mean p-bar %.3f, mean steps %.1f",
        np.mean(targets.numbers["p_bar"]),
        np.mean(targets.numbers["steps"]),
    )
    if method.write == "spread":
        try:
            spread(
                model,
                key_rows,
                targets.state,
                factors,
                spread_settings(method, hyper),
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
    p_hat, p_hat_legacy = perplexities(model, problems, settings, token_budget)
    edits = pd.DataFrame(
        {
            "request": [r.id for r in requests],
            "n_target_tokens": [len(p.edit_rows[0].labels) for p in problems],
            "stop_reason": targets.stop_reason,
            **targets.numbers,
            "p_hat": p_hat,
            "p_hat_legacy": p_hat_legacy,
            "neighbors": [
                " | ".join(n.text for n in r.editing_neighbors[: method.n_neighbors])
                for r in requests
            ],
        }
    )
    return targets, edits
