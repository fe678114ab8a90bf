"""The tables that jobs leave for others: columns, their types, and reading what has to be in them.

What a column of metrics.csv means is said in `metrics.METRICS`. No torch is needed to read any.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from modeledit.io.files import AGAIN, FileError
from modeledit.io.frames import Filters, read_csv, read_table, whole_parquet, write_parquet
from modeledit.io.seals import check_seal


class SchemaError(FileError):
    """A table without a column, or with values of another kind, than whoever reads it needs."""


@dataclass(frozen=True)
class Schema:
    """The columns of a file, in order, with the types in which they are written.

    A reader takes a wider or narrower type of the same kind: whole numbers, numbers, text, lists.
    """

    file: str
    columns: pa.Schema

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns."""
        return tuple(self.columns.names)

    def check(self, found: pa.Schema, where: str | Path, names: Sequence[str] = ()) -> None:
        """Raise SchemaError, with all that is wrong, unless `found` has `names` (default: all)."""
        names = names or self.names
        if missing := [name for name in names if name not in found.names]:
            has = ", ".join(found.names) or "none"
            raise SchemaError(
                f"{where}: missing columns {missing} of {self.file}, it has {has}; {AGAIN}"
            )
        wrong = [
            f"{name} is {found.field(name).type}, not {self.columns.field(name).type}"
            for name in names
            if not _fits(found.field(name).type, self.columns.field(name).type)
        ]
        if wrong:
            raise SchemaError(f"{where}: {'; '.join(wrong)}; {AGAIN}")

    def table(self, frame: pd.DataFrame) -> pa.Table:
        """`frame` in the types of the columns; SchemaError unless it has these and no others."""
        if unknown := [str(name) for name in frame.columns if name not in self.names]:
            raise SchemaError(f"{self.file}: unknown columns {unknown}")
        self.check(pa.Schema.from_pandas(frame, preserve_index=False), self.file)
        return pa.Table.from_pandas(frame, schema=self.columns, preserve_index=False)

    def write(self, path: Path, frame: pd.DataFrame) -> None:
        """Write a frame as a parquet file, atomically."""
        write_parquet(path, self.table(frame))

    def read_table(
        self, path: str | Path, names: Sequence[str] = (), filters: Filters | None = None
    ) -> pa.Table:
        """The columns `names` (default: all) of a parquet file, in that order.

        Raises SchemaError as `check` does, and StateError where it is not what was sealed.
        """
        names = names or self.names
        self.check(_columns_of(path), path, names)
        return read_table(path, names, filters)

    def present(self, path: str | Path) -> list[str]:
        """Those of the columns that a parquet file has."""
        there = _columns_of(path).names
        return [name for name in self.names if name in there]

    def read(
        self, path: str | Path, names: Sequence[str] = (), filters: Filters | None = None
    ) -> pd.DataFrame:
        """As `read_table`, as a frame."""
        return self.read_table(path, names, filters).to_pandas()

    def read_csv(self, path: str | Path) -> pd.DataFrame:
        """The columns of a CSV file in their types; SchemaError where one is missing or is none."""
        text = [field.name for field in self.columns if pa.types.is_string(field.type)]
        frame = read_csv(path, dict.fromkeys(text, str))
        self.check(pa.Schema.from_pandas(frame, preserve_index=False), path)
        return self.table(frame[list(self.names)]).to_pandas()


def _columns_of(path: str | Path) -> pa.Schema:
    """The columns of a parquet file; StateError where it is broken, or not what was sealed."""
    check_seal(Path(path))
    with whole_parquet(path):
        return pq.read_schema(path)


def _fits(found: pa.DataType, stated: pa.DataType) -> bool:
    """Whether two types are of one kind; a column of nothing but missing values is of any."""
    if pa.types.is_null(found):
        return True
    if pa.types.is_list(stated):
        lists = pa.types.is_list(found) or pa.types.is_large_list(found)
        return lists and _fits(found.value_type, stated.value_type)
    if pa.types.is_string(stated):
        return pa.types.is_string(found) or pa.types.is_large_string(found)
    if pa.types.is_boolean(stated):
        return pa.types.is_boolean(found)
    if pa.types.is_integer(stated):
        return pa.types.is_integer(found)
    return pa.types.is_floating(found) or pa.types.is_integer(found)


RAW_SCORES = Schema(
    "scores.parquet",
    pa.schema(
        [
            ("request", pa.int64()),
            # edit, paraphrase, neighbor, text; self: a neighbor of which only the agreement of the
            # unedited model with its own answers is asked (I19)
            ("kind", pa.string()),
            ("index", pa.int16()),
            # new (o*), true (o, or the neighbor's own), own (what the unedited model said); "" for
            # text
            ("object", pa.string()),
            ("token_ids", pa.list_(pa.int32())),  # empty where the object has no tokens of its own
            ("logprobs", pa.list_(pa.float32())),
            ("argmax", pa.list_(pa.int32())),
            ("ranks", pa.list_(pa.int32())),  # of each object token, from 1
            ("top", pa.list_(pa.string())),  # the likeliest tokens where the object begins
            ("top_logprobs", pa.list_(pa.float32())),
        ]
    ),
)
"""What a model says of each prompt and object, and of each text (SPEC F.1)."""

EDITS = Schema(
    "edits.parquet",
    pa.schema(
        [
            ("request", pa.int64()),
            ("n_target_tokens", pa.int64()),
            # loss, argmax_kl, max_steps; not_finite, not_reached, kept (see `stages`)
            ("stop_reason", pa.string()),
            ("loss", pa.float64()),  # of the last step, as are its parts
            ("nll", pa.float64()),
            ("kl", pa.float64()),
            ("weight_decay", pa.float64()),
            ("p_init", pa.float64()),
            ("p_bar", pa.float64()),
            ("p_init_legacy", pa.float64()),  # the released code's (I5-I8), as all _legacy
            ("p_bar_legacy", pa.float64()),
            ("steps", pa.int64()),
            ("init_norm", pa.float64()),
            ("delta_norm", pa.float64()),
            ("p_hat", pa.float64()),
            ("p_hat_legacy", pa.float64()),
            ("residual_before", pa.float64()),  # norm of target - state before SPREAD, and after it
            ("residual", pa.float64()),  # NaN of ROME, and where nothing was written
            ("neighbors", pa.string()),  # prompts of those in the loss, joined by " | "
        ]
    ),
)
"""How OPTIMIZATION ended for each request of an iteration, and p-hat after SPREAD (SPEC J.1)."""

PANEL = Schema(
    "panel.parquet",
    pa.schema(
        [
            ("prompt", pa.string()),
            ("subject", pa.string()),
            ("object", pa.string()),
            ("said", pa.string()),  # up to where it leaves the object
            ("probability", pa.float64()),  # of the whole object
        ]
    ),
)
"""Facts that the unedited model knows, and what a model says of them."""

REQUEST_VALUES = Schema(
    "request_metrics.parquet",
    pa.schema(
        [
            ("request", pa.int64()),
            ("eff_acc", pa.float64()),
            ("eff_succ", pa.float64()),
            ("gen_acc", pa.float64()),
            ("gen_succ", pa.float64()),
            ("spec_acc", pa.float64()),
            ("spec_succ", pa.float64()),
            ("k", pa.int64()),
        ]
    ),
)
"""Metrics of each request of a run after each iteration (SPEC F.1)."""

RUN_METRICS = Schema(
    "metrics.csv",
    pa.schema(
        [
            ("dataset", pa.string()),
            ("model", pa.string()),
            ("method", pa.string()),
            ("trial", pa.int64()),
            ("k", pa.int64()),
            ("n_requests", pa.int64()),
            ("eff_acc", pa.float64()),
            ("eff_succ", pa.float64()),
            ("gen_acc", pa.float64()),
            ("gen_succ", pa.float64()),
            ("spec_acc", pa.float64()),
            ("spec_succ", pa.float64()),
            ("score_acc", pa.float64()),
            ("score_succ", pa.float64()),
            ("me_ppl", pa.float64()),
            ("p_bar", pa.float64()),
            ("p_hat", pa.float64()),
            ("dp", pa.float64()),
            ("dp2", pa.float64()),
        ]
    ),
)
"""Metrics of a run, or of all runs, after each iteration."""

NULL_SPACES = Schema(
    "null_spaces.csv",
    pa.schema(
        [
            ("layer", pa.int64()),
            ("rank", pa.int64()),
            ("d_mlp", pa.int64()),
            ("share", pa.float64()),  # rank / d_mlp
            ("cut", pa.string()),  # threshold, trace, rank
            ("value", pa.float64()),  # of the cut
            ("trace", pa.float64()),  # of the covariance
            ("smallest", pa.float64()),  # eigenvalue
            ("largest", pa.float64()),
            ("leakage", pa.float64()),  # tr(P C) / tr(C)
            ("outside", pa.float64()),  # the rest of the trace: what an update cannot reach
            (
                "mean_square",
                pa.float64(),
            ),  # of keys of a few texts, which the trace was held against
        ]
    ),
)
"""What each layer's null space is, and how much of the keys it lets through (SPEC A.9)."""

SPECTRA = Schema(
    "null_spaces.parquet",
    pa.schema([("layer", pa.int64()), ("index", pa.int64()), ("eigenvalue", pa.float64())]),
)
"""All eigenvalues of the covariances, ascending, counted from 1."""

SEQUENCE_VALUES = Schema(
    "request_metrics.parquet",
    pa.schema(
        [
            ("request", pa.int64()),
            ("edited_in", pa.int64()),  # the batch that edits it, from 1
            ("batch", pa.int64()),  # after which it was scored; 0: the unedited model
            ("eff_acc", pa.float64()),
            ("eff_succ", pa.float64()),
            ("gen_acc", pa.float64()),
            ("gen_succ", pa.float64()),
            ("spec_acc", pa.float64()),
            ("spec_succ", pa.float64()),
        ]
    ),
)
"""Metrics of each request of a sequence after each batch from its own on (SPEC F.1)."""

SEQUENCE_METRICS = Schema(
    "sequences.csv",
    pa.schema(
        [
            ("dataset", pa.string()),
            ("model", pa.string()),
            ("method", pa.string()),
            ("trial", pa.int64()),
            ("size", pa.int64()),  # requests of a batch
            ("batch", pa.int64()),  # 0: the unedited model
            ("edits", pa.int64()),  # batch * size
            # own: the batch just edited; earlier: all before it; all: both together, and of batch 0
            # all requests of the sequence
            ("group", pa.string()),
            ("n_requests", pa.int64()),
            ("eff_acc", pa.float64()),
            ("eff_succ", pa.float64()),
            ("gen_acc", pa.float64()),
            ("gen_succ", pa.float64()),
            ("spec_acc", pa.float64()),
            ("spec_succ", pa.float64()),
            ("score_acc", pa.float64()),
            ("score_succ", pa.float64()),
            ("me_ppl", pa.float64()),
            ("p_bar", pa.float64()),  # of the batch's last iteration that edited, as p_hat and dp
            ("p_hat", pa.float64()),
            ("dp", pa.float64()),
            ("iterations", pa.int64()),  # that the batch took
            # |W - W_0| / |W_0| (Frobenius) of the edited layers, the largest and the mean
            ("norm_change", pa.float64()),
            ("norm_change_mean", pa.float64()),
            ("collapsed", pa.bool_()),
        ]
    ),
)
"""Metrics of a sequence of batches, or of all sequences, after each batch."""

GENERATIONS = Schema(
    "generations.parquet",
    pa.schema(
        [
            ("request", pa.int64()),
            # edit, paraphrase, neighbor, as in scores.parquet; subject: the prompts of fluency; in
            # probe_generations.parquet the kind of the probe
            ("kind", pa.string()),
            ("index", pa.int16()),
            ("prompt", pa.string()),
            ("token_ids", pa.list_(pa.int32())),  # of what was said
            ("text", pa.string()),  # what was said, without the prompt
            ("ended", pa.string()),  # stop: the text or the line ended; length: cut off
        ]
    ),
)
"""What a model says after each prompt when it writes on by itself; fluency.parquet and
probe_generations.parquet have the same columns."""

DRIFT = Schema(
    "drift.parquet",
    pa.schema(
        [
            ("text", pa.int64()),
            ("tokens", pa.int64()),  # positions predicted
            ("kl", pa.float64()),  # nats: mean over positions of KL(p_unedited || p_edited)
            ("nll", pa.float64()),  # nats, mean over positions, of the edited model
            ("nll_unedited", pa.float64()),
        ]
    ),
)
"""How far an edited model is from the unedited one on texts that no edit is about."""

BEHAVIOR_VALUES = Schema(
    "behavior.parquet",
    pa.schema(
        [
            ("request", pa.int64()),  # of drift the number of the text
            ("k", pa.int64()),  # iteration that holds the state; 0: the unedited model
            ("state", pa.string()),  # unedited, first, stop
            # one of `behavior_metrics.BEHAVIOR_METRICS`; of a text one of `drift.TEXT_VALUES`
            ("metric", pa.string()),
            ("value", pa.float64()),
        ]
    ),
)
"""What each request of a run comes to before the edit, after k = 1 and at the stop."""

BEHAVIOR = Schema(
    "behavior.csv",
    pa.schema(
        [
            ("dataset", pa.string()),
            ("model", pa.string()),
            ("method", pa.string()),
            ("state", pa.string()),  # unedited, first, stop
            ("k", pa.float64()),  # mean over trials
            ("metric", pa.string()),
            ("n", pa.int64()),  # requests of all trials that have a value; of drift texts
            ("value", pa.float64()),
            ("low", pa.float64()),
            ("high", pa.float64()),
            ("unedited", pa.float64()),  # the unedited model's value; missing of what it has none
        ]
    ),
)
"""What models say after editing, requests pooled over trials, beside the unedited model."""

BEHAVIOR_TESTS = Schema(
    "behavior_tests.csv",
    pa.schema(
        [
            ("dataset", pa.string()),
            ("model", pa.string()),
            # iterating: the stop against k = 1 of one method; neighbor: NA_X against X at the stop
            ("comparison", pa.string()),
            ("a", pa.string()),  # method
            ("b", pa.string()),
            ("metric", pa.string()),
            ("n", pa.int64()),  # requests that both have a value for
            ("difference", pa.float64()),  # a minus b
            ("low", pa.float64()),
            ("high", pa.float64()),
            ("p", pa.float64()),
            ("p_corrected", pa.float64()),
        ]
    ),
)
"""Paired tests on the same requests of what iterating and what neighbors change in behavior."""
