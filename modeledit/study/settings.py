"""The configuration of a study as types: `config/*.yaml`, one class per block.

What each key means and may be stands here alone; `docs/configuration.md` is written from it. Values
come from `config/config.yaml` and what is laid over it; a default here is only for keys that may be
left out.
"""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen

from modeledit.study.checked import DISTINCT, Checked, Doc, Matching
from modeledit.study.methods import MOST_NEIGHBORS
from modeledit.study.observation import Evaluation
from modeledit.study.stopping import Mode

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["float32", "tf32", "bf16"]
Kind = Literal["geography", "counterfact", "zsre", "own"]
Preset = Literal["corrected", "published"]
GREATEST_SEED = 2**63 - 1  # of numpy's and torch's generators
SMALLEST_BUDGET = 16  # tokens at once
MOST_ITERATIONS = 1000  # each is a job that has to be planned
MOST_BATCHES = 10_000
MOST_THREADS = 4096
LARGEST_BUDGET = 2**30  # tokens at once, far more than any memory holds
# Tokens at once of "auto": more are no faster on a CPU, and hardly on a GPU (docs/benchmarks.md).
AUTO_BUDGET = {"cpu": 1024, "cuda": 8192}
EXCERPT_ARTICLES = 68  # of the excerpt that are not held out for sentences, whatever the seed
EXCERPT_SENTENCES = 1000
"""That may be asked for: the held-out articles had 1,100 to 3,059 with 3,000 seeds."""


@dataclass(frozen=True, kw_only=True)
class Dataset(Checked):
    """Where the records of a dataset come from."""

    source: Annotated[
        Kind,
        Doc(
            "`geography` is built in (docs/geography.md); the others are read from files, `own` is "
            "the plain form of docs/own_facts.md"
        ),
    ]
    path: Annotated[
        str | None,
        Doc("a file of such records, relative to the project or absolute", "an existing file"),
    ] = None
    files: Annotated[
        Literal["authors", "whole"] | None,
        Doc(
            "instead of `path`, published files: `authors`, the paper's own trials (CounterFact "
            "subsets 1, 10, 15, zsRE 0, 10, 15), or `whole`, all of CounterFact to sample trials "
            "from"
        ),
    ] = None
    skip_bad: Annotated[
        bool,
        Doc(
            "of a `path`: leave out records that cannot be requests, and name them in the log of "
            "the dataset's requests; else the first of them are named and nothing runs"
        ),
    ] = False


@dataclass(frozen=True, kw_only=True)
class Trials(Checked):
    """Disjoint samples of a dataset."""

    count: Annotated[int, Ge(1), Doc("disjoint samples", "3 of the authors' at most")]
    size: Annotated[
        int,
        Ge(1),
        Doc(
            "requests in each; of `files: authors` the first so many of each subset, in its order",
            "at most what the dataset has; 1000 of the authors'",
        ),
    ]


@dataclass(frozen=True, kw_only=True)
class Eligible(Checked):
    """The filter behind eligible requests."""

    editing_neighbors: Annotated[
        int,
        Ge(0),
        Le(MOST_NEIGHBORS),
        Doc(
            "how many known neighbors a request keeps for editing; one more is needed to evaluate "
            "on"
        ),
    ]
    others: Annotated[
        Literal["drop", "keep", "refuse"],
        Doc(
            "what becomes of a request that has too few known neighbors: it is left out, it is kept"
            " with those that it has, or (`refuse`) nothing is edited",
            "`keep` with `editing_neighbors: 0`",
        ),
    ] = "drop"
    choice: Annotated[
        Literal["first", "random"],
        Doc("which of the known neighbors edit: the first, or seeded random ones (I33)"),
    ]
    copies: Annotated[
        Literal["drop", "count"],
        Doc(
            "a neighbor that a record lists twice is one neighbor, or (`count`, as in the authors' "
            "sets) two: the same prompt may then edit and be evaluated on"
        ),
    ] = "drop"
    authors: Annotated[
        dict[str, int],
        Doc(
            "per model, the set that passed the authors' own filter, by its size; it is the model's"
            " one trial of CounterFact, instead of our filter on our trials. The paper has 739 for "
            "GPT-2 XL, 960 for GPT-J, 1340 for Llama-2, but any model may be given one",
            "739, 960, 1340; runs with `trials: 1`",
        ),
    ] = field(default_factory=dict)
    size: Annotated[
        Annotated[int, Ge(1)] | None,
        Doc("requests taken of such a set, in its order", "all of them if not given"),
    ] = None
    compare: Annotated[
        dict[str, str],
        Doc(
            "per model, a file with the authors' own eligible set, compared with ours in "
            "`trial{t}.yields.json`"
        ),
    ] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Batches(Checked):
    """Requests of a trial edited batch after batch, each iterated to its stop before the next."""

    size: Annotated[int, Ge(1), Doc("requests of a batch; taken in the order of the trial")]
    count: Annotated[
        int,
        Ge(1),
        Le(MOST_BATCHES),
        Doc(
            "batches, one after another on the same model, each iterated to its stop before the "
            "next starts; later raised, a sequence goes on",
            "size * count at most the requests of a trial",
        ),
    ]
    keep: Annotated[
        Literal["last", "all"],
        Doc("whose edited matrices stay on disk: those after the last batch, or after each"),
    ] = "last"


@dataclass(frozen=True, kw_only=True)
class RunBlock(Checked):
    """Every combination of its models and methods is run on its requests."""

    dataset: Annotated[str, Doc("a name from `datasets`")]
    requests: Annotated[
        Literal["all", "eligible"],
        Doc(
            "`all`, or `eligible`: only those with two neighbors that the unedited model knows "
            "(SPEC D.2)",
            "neighbor-assisted methods need `eligible`",
        ),
    ]
    models: Annotated[tuple[str, ...], MinLen(1), DISTINCT, Doc("names of `config/models/*.yaml`")]
    methods: Annotated[
        tuple[str, ...],
        MinLen(1),
        DISTINCT,
        Doc(
            "`ROME`, `MEMIT`, `PMET`; each with a neighbor in its loss as `NA_…` (bare) or `NAP_…` "
            f"(with prefixes), with n of them as `NA2_…` to `NAP{MOST_NEIGHBORS}_…`. The paper "
            "(arXiv:2503.11895) has one neighbor, and none with ROME. `SPREAD_MEMIT`, "
            "`SPREAD_PMET`: from k = 2 on only SPREAD is repeated, with the targets of k = 1; "
            "`OPTIMIZATION_MEMIT`, `OPTIMIZATION_PMET`: only OPTIMIZATION, on the unedited weights,"
            " and SPREAD writes once. These two test an explanation of the paper and are no methods"
            " of it. `AlphaEdit` (arXiv:2410.02355) writes into the null space of the covariance; "
            "`MEMIT_seq` is MEMIT that keeps the keys of earlier batches in place, both as the "
            "switch `key_cache` says, both also as `NA_…`, `NAP_…`. `FRESH_AlphaEdit` and "
            "`GROWING_AlphaEdit` have `key_cache` none and released whatever the switch says, "
            "`L2_OVER_2_AlphaEdit` to `L2_OVER_10_AlphaEdit` a smaller L2: they test what iterating"
            " it as released comes to",
            "those with hyperparameters for the model",
        ),
    ]
    trials: Annotated[
        Annotated[int, Ge(1)] | None,
        Doc("trials of these runs, instead of `trials.count`", "at most `trials.count`"),
    ] = None
    iterations: Annotated[
        Annotated[int, Ge(1), Le(MOST_ITERATIONS)] | None,
        Doc("iterations of these runs, instead of both `stop.iterations` and `stop.extended`"),
    ] = None
    batches: Batches | None = None


@dataclass(frozen=True, kw_only=True)
class Stop(Checked):
    """When a run stops iterating."""

    mode: Annotated[
        Mode,
        Doc(
            "`early`: stop at the rule or at `extended`; `full`: always run `iterations`, then as "
            "`early`. An iteration whose targets or updates are not finite writes nothing and ends "
            "its run in both modes, since the next one would start from the same weights: its "
            "`state.json` says `collapsed` and names the requests, abs(dp) is infinite, and all "
            "other jobs go on"
        ),
    ]
    epsilon: Annotated[
        float, Gt(0), Doc("the rule: the first k with abs(dp) <= epsilon (SPEC C.4)")
    ]
    iterations: Annotated[int, Ge(1), Le(MOST_ITERATIONS), Doc("the paper's budget is 5")]
    extended: Annotated[
        int,
        Ge(1),
        Le(MOST_ITERATIONS),
        Doc(
            "the budget while the rule is unmet; the paper's is 10",
            "at least `stop.iterations`",
        ),
    ]


@dataclass(frozen=True, kw_only=True)
class Text(Checked):
    """Texts of the covariance and of ME-PPL."""

    covariance_articles: Annotated[
        int,
        Ge(1),
        Le(EXCERPT_ARTICLES),
        Doc("Wikipedia articles of the excerpt behind the `embedded` covariance"),
    ]
    covariance_length: Annotated[int, Ge(2), Doc("tokens taken of each")]
    perplexity: Annotated[
        Literal["excerpt", "authors"],
        Doc("texts behind ME-PPL: held-out sentences of the excerpt, or the authors' ME-PPL-50"),
    ]
    perplexity_texts: Annotated[int, Ge(1), Le(EXCERPT_SENTENCES), Doc("how many of the excerpt's")]


@dataclass(frozen=True, kw_only=True)
class Covariance(Checked):
    """Where the second moments of the keys come from."""

    source: Annotated[
        Literal["embedded", "fast", "recompute", "authors"],
        Doc("where SPREAD's covariance comes from, see below"),
    ]
    articles: Annotated[int, Ge(1), Doc("articles of `recompute`", "the paper has 100000")]
    length: Annotated[
        Annotated[int, Ge(2)] | None,
        Doc(
            "tokens taken of each article by `recompute` and `fast`",
            "`null`: the model's context, as in the paper",
        ),
    ]
    checkpoint: Annotated[int, Ge(1), Doc("articles between two partial sums of `recompute`")]
    tolerance: Annotated[
        Annotated[float, Gt(0), Lt(1)] | None,
        Doc(
            "`embedded` and `recompute` take articles, shuffled, only until the estimated relative "
            "error of every layer's covariance is at most this",
            "`null`: all articles, as in the paper",
        ),
    ] = None


TokenBudget = Annotated[int, Ge(SMALLEST_BUDGET), Le(LARGEST_BUDGET)] | Literal["auto"]


@dataclass(frozen=True, kw_only=True)
class Compute(Checked):
    """Where and how jobs compute."""

    device: Annotated[Device, Doc("`auto` takes a GPU where `nvidia-smi` and torch find one")]
    precision: Annotated[
        Precision,
        Doc(
            "of OPTIMIZATION's matrix products; all that is measured, and SPREAD, stays in float32 "
            "and float64. `tf32` (GPU) and `bf16` are faster and change the targets; the paper has "
            "`float32`"
        ),
    ]
    deterministic: Annotated[
        bool,
        Doc("torch's deterministic algorithms, see [the same bits](#the-same-bits)"),
    ]
    threads: Annotated[
        int,
        Ge(1),
        Le(MOST_THREADS),
        Doc(
            "CPU threads of a job; several jobs run at once, and with 1 the results do not depend "
            "on `--cores`"
        ),
    ]
    token_budget: Annotated[
        TokenBudget,
        Doc(
            "tokens that run through a model at once: less saves memory, more is faster on a GPU; "
            f"`auto`: as many as fit when a job starts, {AUTO_BUDGET['cuda']} at most on a GPU and "
            f"{AUTO_BUDGET['cpu']} on a CPU"
        ),
    ]

    def most_tokens(self, gpu: bool) -> int:
        """Tokens that run at once at most, on a GPU or on a CPU."""
        if self.token_budget == "auto":
            return AUTO_BUDGET["cuda" if gpu else "cpu"]
        return self.token_budget


@dataclass(frozen=True, kw_only=True)
class Facts(Checked):
    """Facts of one's own: what `study.own_facts` makes datasets, trials and runs of."""

    path: Annotated[
        str,
        Doc(
            "edits the facts of this file (docs/own_facts.md) in place of `datasets`, `trials`, "
            "`eligible` and `runs`; `facts: FILE` is short for this key alone",
            "an existing file, relative to the project or absolute",
        ),
    ]
    model: Annotated[str, Doc("the model to edit", "a name of `config/models/*.yaml`")] = (
        "smollm2-135m"
    )
    method: Annotated[
        str, Doc("the method", "as `runs[].methods`; one with `NA_` needs known neighbors")
    ] = "MEMIT"
    export: Annotated[
        str | None,
        Doc(
            "a folder for the edited model, as transformers reads it",
            "one that is not there, is empty, or holds an earlier export",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Configuration(Checked):
    """Everything that a study's configuration says."""

    name: Annotated[
        str,
        Matching("^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"),
        Doc("folder below `results/`", "letters, digits, `_`, `.`, `-`, 100 at most"),
    ]
    preset: Annotated[
        Preset,
        Doc(
            "which reading of the method: `corrected` or `published` (the code behind the paper's "
            "tables); see `presets.yaml`"
        ),
    ]
    switches: Annotated[
        dict[str, object], Doc("overrides of single switches of the preset", "see below")
    ] = field(default_factory=dict)
    seed: Annotated[
        int,
        Ge(0),
        Le(GREATEST_SEED),
        Doc("trials, contexts, facts and texts are drawn from it"),
    ]
    partial: Annotated[
        bool,
        Doc(
            "tables, figures and report are made from what is there of a study, and no model is "
            "run; on the command line `--config partial=True`"
        ),
    ] = False
    facts: Facts | None = None
    datasets: Annotated[
        dict[Annotated[str, Matching("^[a-z0-9][a-z0-9_]{0,99}$")], Dataset], MinLen(1)
    ]
    trials: Trials
    eligible: Eligible
    runs: Annotated[tuple[RunBlock, ...], MinLen(1)]
    stop: Stop
    text: Text
    evaluation: Evaluation = field(default_factory=Evaluation)
    covariance: Covariance
    offline: Annotated[
        str | None,
        Doc(
            "a folder to look into before the network, also with the variable `MODELEDIT_OFFLINE`",
            "an existing folder",
        ),
    ] = None
    compute: Compute
