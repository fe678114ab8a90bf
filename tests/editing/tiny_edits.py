"""How the tests edit tiny models: settings, and the files that one iteration of a run reads."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from modeledit.editing.iteration import EditSettings
from modeledit.editing.writes import CovarianceWrite
from modeledit.io.prepared import Agreement, PreparedModel, file_digests, write_prepared
from modeledit.io.state import State
from modeledit.study.hyperparameters import Hyperparameters, SpreadHyperparameters
from modeledit.study.methods import METHODS
from modeledit.study.settings import Compute, Precision, Stop
from modeledit.study.switches import EditingSwitches
from tests.presets import CORRECTED
from tests.reference.models import HYPER

SWITCHES = replace(CORRECTED, rome_covariance=False)


class Silent:
    """Progress that nobody looks at."""

    def update(self, n: int) -> None:
        pass

    def set_postfix(self, **_: object) -> None:
        pass


def settings_of(
    name: str,
    hyper: Hyperparameters = HYPER,
    switches: EditingSwitches = SWITCHES,
    precision: Precision = "float32",
    token_budget: int = 400,
) -> EditSettings:
    """How the method `name` edits a tiny model."""
    return EditSettings(METHODS[name], hyper, switches, precision, token_budget)


def covariance_write(
    factors: Mapping[int, torch.Tensor], hyper: SpreadHyperparameters = HYPER
) -> CovarianceWrite:
    """How MEMIT and PMET write a tiny model."""
    return CovarianceWrite(factors, hyper.covariance_weight)


def compute_on(
    device: str = "cpu", precision: Precision = "float32", token_budget: int = 400
) -> Compute:
    """One thread, nothing deterministic."""
    return Compute(
        device=device,
        precision=precision,
        deterministic=False,
        threads=1,
        token_budget=token_budget,
    )


def stop_after(iterations: int, mode: str = "full", extended: int | None = None) -> Stop:
    """The rule with epsilon 1 and this budget."""
    return Stop(mode=mode, epsilon=1.0, iterations=iterations, extended=extended or iterations)


def state_of(k: int, **changed: object) -> State:
    """The state of an iteration that edited and goes on."""
    state = State(
        k=k,
        held_by=k,
        passed_on=False,
        stopped=False,
        collapsed=None,
        p_bar=1.0,
        p_hat=3.0,
        dp=2.0,
        precision="float32",
        differences=[2.0] * k,
    )
    return replace(state, **changed)


def write_record(folder: Path, weights: str) -> None:
    """The prepared.json of a folder with a tiny model, whose weights have the digest `weights`."""
    record = PreparedModel(
        origin="tiny",
        origin_sha256=None,
        weights_sha256=weights,
        tokenizer_sha256="tiny",
        files_sha256=file_digests(folder),
        agreement=Agreement(0, 0.0),
        parameters=1,
        transformers="any",
    )
    write_prepared(folder, record)
