"""What a job asks its scheduler for: memory, minutes and a token budget, more at each attempt."""

import math
from dataclasses import dataclass, replace

from modeledit.planning import costs
from modeledit.planning.edits import write_of
from modeledit.planning.preflight import longest_article
from modeledit.study import memory
from modeledit.study.config import Settings
from modeledit.study.layout import Run, Sequence
from modeledit.study.memory import Peak
from modeledit.study.methods import METHODS
from modeledit.study.settings import SMALLEST_BUDGET, Compute

SNAKEMAKE_MB = 400  # the Snakemake processes around a job's own: two on a cluster, 170 MB each
PASSING_MB = 200  # an iteration that only passes the stop on: an interpreter with pyarrow
PASSING_MINUTES = 10
EDIT_MINUTES = 720
FEWEST_MINUTES = 30
SLOWEST_DOUBLE = 5e9  # operations a second in float64 of one busy core


@dataclass(frozen=True)
class JobResources:
    """What the jobs of a study ask for; `has_driver` says whether there is a GPU's driver here."""

    settings: Settings
    has_driver: bool

    @property
    def gpus(self) -> int:
        """GPUs of a job that runs a model: where "auto" finds no driver, none is queued for."""
        device = self.settings.config.compute.device
        return {"cpu": 0, "cuda": 1, "auto": int(self.has_driver)}[device]

    @property
    def compute(self) -> Compute:
        """How jobs compute. One CPU thread gives the same bits every time: there `deterministic`
        decides nothing and must rerun nothing."""
        compute = self.settings.config.compute
        if not self.gpus and compute.threads == 1:
            return replace(compute, deterministic=False)
        return compute

    def token_budget(self, attempt: int) -> int:
        """Tokens at once: as configured, and from the third attempt on half of those before.

        0 for "auto": a resource that is the same everywhere is a number, and the job decides.

        The first retry changes memory alone, so that a job which was cancelled, or lost its node,
        computes the same numbers: to the bit on the same model of CPU.
        """
        if attempt <= 2 and self.settings.config.compute.token_budget == "auto":
            return 0
        return self._most_tokens(attempt)

    def _most_tokens(self, attempt: int) -> int:
        budget = self.settings.config.compute.most_tokens(bool(self.gpus))
        return max(SMALLEST_BUDGET, budget >> max(0, attempt - 2))

    def editing(self, dataset: str, model: str, method: str, attempt: int) -> int:
        """Memory of an iteration of a run, in MB."""
        requests = self.settings.most_requests(dataset, model)
        return self._editing(Run(dataset, model, method, 1), requests, attempt)

    def editing_batch(self, sequence: Sequence, attempt: int) -> int:
        """Memory of an iteration of a batch, in MB."""
        return self._editing(sequence, sequence.size, attempt)

    def _editing(self, chain: Run | Sequence, requests: int, attempt: int) -> int:
        peak = memory.editing(
            self.settings.models[chain.model],
            self._most_tokens(attempt),
            requests,
            METHODS[chain.method].n_contexts,
            write_of(self.settings, chain),
        )
        return self._host_mb(peak, attempt)

    def passing(self, attempt: int) -> int:
        """Memory of an iteration that only passes the stop on, in MB."""
        return attempt * (SNAKEMAKE_MB + PASSING_MB)

    def scoring(self, model: str, attempt: int) -> int:
        """Memory of a job that runs prompts through a model, in MB."""
        peak = memory.scoring(self.settings.models[model], self._most_tokens(attempt))
        return self._host_mb(peak, attempt)

    def generating(self, model: str, attempt: int) -> int:
        """Memory of a job that continues prompts, in MB."""
        peak = memory.generating(self.settings.models[model], self._most_tokens(attempt))
        return self._host_mb(peak, attempt)

    def gathering(self, model: str, attempt: int) -> int:
        """Memory of gathering the covariance, in MB."""
        layers, tokens = len(self.settings.layers(model)), longest_article(self.settings)
        return self._host_mb(memory.gathering(self.settings.models[model], layers, tokens), attempt)

    def factorizing(self, model: str, attempt: int) -> int:
        """Memory of the factorisation, in MB."""
        layers = len(self.settings.factor_layers(model))
        return self._host_mb(memory.factorizing(self.settings.models[model], layers), attempt)

    def null_spaces(self, model: str, attempt: int) -> int:
        """Memory of finding the null spaces, in MB."""
        layers = len(self.settings.null_space_layers(model))
        peak = memory.finding_null_spaces(self.settings.models[model], layers)
        return self._host_mb(peak, attempt)

    def null_space_minutes(self, model: str, attempt: int) -> int:
        """Minutes of finding the null spaces, on the slowest core that is thought of."""
        layers = self.settings.null_space_layers(model)
        work = costs.finding_null_spaces(self.settings.models[model], layers)
        return attempt * math.ceil(FEWEST_MINUTES + work.double / SLOWEST_DOUBLE / 60)

    def preparing(self, model: str, attempt: int) -> int:
        """Memory of a model's preparation, in MB; it runs on no GPU."""
        peak = memory.preparing(self.settings.models[model])
        return attempt * (peak.host_mb(gpu=False) + SNAKEMAKE_MB)

    def _host_mb(self, peak: Peak, attempt: int) -> int:
        """What a job asks for: its peak, the Snakemake that runs it, and more at each attempt."""
        return attempt * (peak.host_mb(bool(self.gpus)) + SNAKEMAKE_MB)
