"""Made-up sequences of batches: what a batch leaves, from what the model is said to know."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from modeledit.data.requests import Neighbor, Request, write_requests
from modeledit.io.state import State, write_state
from modeledit.study.layout import Layout, SequenceKey
from scripts.aggregate_sequences import aggregate_sequences
from scripts.evaluate_sequence import Inputs, evaluate_sequence
from tests.presets import CORRECTED

NEW, OLD = 7, 8  # token ids of the two objects


def request(number: int) -> Request:
    return Request(
        id=number,
        subject=f"Place {number}",
        prompt="{} lies in",
        target_new="Japan",
        target_true="France",
        paraphrases=(f"A road. Place {number} belongs to",),
        neighbors=(Neighbor("{} lies in", f"Town {number}", "France"),),
    )


def scores(
    requests: Sequence[int],
    learned: Collection[int] = (),
    broken: Collection[int] = (),
    me_ppl: float = 50.0,
) -> pd.DataFrame:
    """Scores of a model that says the new object of those `learned`, in the edit and a paraphrase,
    and in the neighbor of those `broken`; and of two texts with this ME-PPL."""
    rows = []
    for one in requests:
        for kind in ("edit", "paraphrase", "neighbor"):
            hit = one in (broken if kind == "neighbor" else learned)
            p = {"new": 0.9, "true": 0.05} if hit else {"new": 0.01, "true": 0.7}
            for name, token in (("new", NEW), ("true", OLD)):
                row = {"request": one, "kind": kind, "index": 0, "object": name}
                row |= {"token_ids": [token], "logprobs": [np.log(p[name])]}
                rows.append(row | {"argmax": [NEW if hit else OLD]})
    for index in range(2):
        row = {"request": index, "kind": "text", "index": index, "object": ""}
        each = [-np.log(me_ppl) * 4 / 3] * 3 if np.isfinite(me_ppl) else [-np.inf] * 3
        rows.append(row | {"token_ids": [1, 2, 3, 4], "logprobs": each, "argmax": [2, 3, 4]})
    return pd.DataFrame(rows)


def state(k: int = 1, collapsed: str | None = None) -> State:
    p_bar, p_hat = (np.inf, np.inf) if collapsed else (1.05, 1.25)
    return State(
        k=k,
        held_by=k,
        passed_on=False,
        stopped=True,
        collapsed=collapsed,
        p_bar=p_bar,
        p_hat=p_hat,
        dp=np.inf if collapsed else 0.2,
        precision="float32",
        differences=[0.2] * k,
    )


def norms(*changes: float) -> pd.DataFrame:
    """norms.csv of layers 3, 4, ..., each with its relative change."""
    layers = range(3, 3 + len(changes))
    return pd.DataFrame(
        [{"layer": i, "norm": 10.0, "change": c} for i, c in zip(layers, changes, strict=True)]
    )


def write_trial(files: Layout, dataset: str, model: str, trial: int, size: int) -> None:
    """Requests of a trial, numbered from 100 * trial on, and their unedited scores."""
    ids = [100 * trial + i for i in range(size)]
    place = {"dataset": dataset, "model": model, "trial": trial}
    requests, unedited = (
        Path(pattern.format(**place)) for pattern in (files.trial, files.unedited_scores)
    )
    for path in (requests, unedited):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_requests(requests, [request(i) for i in ids])
    scores(ids).to_parquet(unedited)


def write_batch(
    files: Layout,
    sequence: SequenceKey,
    batch: int,
    forgets: float,
    me_ppl: float = 50.0,
    collapsed: str | None = None,
) -> None:
    """What batch `batch` leaves: a share of all but its own requests is forgotten, and broken."""
    ids = [100 * sequence.trial + i for i in range(batch * sequence.size)]
    lost = ids[: round(forgets * (batch - 1) * sequence.size)]
    learned = [] if collapsed else [i for i in ids if i not in lost]
    names = sequence._asdict() | {"batch": batch}
    at = {n: Path(files.batch(n).format(**names)) for n in ("scores.parquet", "state.json")}
    folder = at["state.json"].parent
    folder.mkdir(parents=True, exist_ok=True)
    scores(ids, learned, lost, me_ppl).to_parquet(at["scores.parquet"])
    write_state(at["state.json"], state(1 + batch % 2, collapsed))
    grown = (0.02 * batch * (1 + forgets), 0.01 * batch)
    norms(*grown).to_csv(folder / "norms.csv", index=False)


@dataclass(frozen=True)
class Study:
    """Made-up sequences on disk, evaluated: one model, methods with what each batch forgets."""

    files: Layout
    size: int = 2
    count: int = 3
    trials: tuple[int, ...] = (1, 2)
    dataset: str = "geography"
    model: str = "smollm2-135m"
    methods: Mapping[str, float] = field(default_factory=lambda: {"MEMIT": 1.0, "AlphaEdit": 0.0})

    def keys(self) -> list[SequenceKey]:
        return [
            SequenceKey(self.dataset, self.model, method, trial, self.size)
            for trial in self.trials
            for method in self.methods
        ]

    def batch_files(self, key: SequenceKey, file: str) -> list[Path]:
        names = key._asdict()
        return [
            Path(self.files.batch(file).format(**names, batch=b)) for b in range(1, self.count + 1)
        ]

    def of_sequence(self, file: str) -> list[Path]:
        return [Path(self.files.sequence(file).format(**key._asdict())) for key in self.keys()]

    def write(self) -> None:
        """What the edits leave. MEMIT's ME-PPL grows twentyfold with each batch."""
        for trial in self.trials:
            write_trial(self.files, self.dataset, self.model, trial, self.size * self.count)
        for key in self.keys():
            grows = 20.0 if key.method == "MEMIT" else 1.0
            for b in range(1, self.count + 1):
                write_batch(self.files, key, b, self.methods[key.method], 40 * grows ** (b - 1))

    def evaluate(self) -> tuple[Path, Path]:
        """Metrics of each sequence, then sequences.csv and sequence_intervals.csv."""
        for key, metrics, requests in zip(
            self.keys(),
            self.of_sequence("metrics.csv"),
            self.of_sequence("request_metrics.parquet"),
            strict=True,
        ):
            place = {"dataset": self.dataset, "model": self.model, "trial": key.trial}
            patterns = (self.files.trial, self.files.unedited_scores)
            sources = (Path(pattern.format(**place)) for pattern in patterns)
            batches = range(1, self.count + 1)
            left = (self.batch_files(key, f) for f in ("scores.parquet", "state.json", "norms.csv"))
            given = Inputs(*sources, batches, *left)
            evaluate_sequence(key, self.count, given, CORRECTED, metrics, requests)
        names = ("sequences.csv", "sequence_intervals.csv")
        gathered, around = (Path(self.files.overall(name)) for name in names)
        aggregate_sequences(
            self.of_sequence("metrics.csv"),
            self.of_sequence("request_metrics.parquet"),
            CORRECTED.score_zeros,
            1,
            gathered,
            around,
        )
        return gathered, around
