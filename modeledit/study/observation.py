"""What is observed of an edited model besides the paper's metrics: the block `evaluation`.

Each part is off unless it is there. Switching one on later observes the states that are there; no
edit is made again.
"""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Le, MinLen

from modeledit.study.checked import DISTINCT, Checked, Doc

MOST_TOKENS = 4096
SUBJECT_PROMPTS = ("{} is", "{} is known for")
Format = Literal["own", "mquake", "ripple_edits", "knowedit"]
Tokens = Annotated[int, Ge(1), Le(MOST_TOKENS)]


@dataclass(frozen=True, kw_only=True)
class Generation(Checked):
    """Greedy continuations of the edit, paraphrase and neighbor prompts."""

    tokens: Annotated[
        Tokens,
        Doc(
            "off if not there; else every edit, paraphrase and neighbor prompt is continued "
            "greedily, by so many tokens at most, to the end of the line or text"
        ),
    ]


@dataclass(frozen=True, kw_only=True)
class Fluency(Checked):
    """Longer texts about the edited subjects."""

    tokens: Annotated[
        Tokens, Doc("of each text at most; ROME (arXiv:2202.05262) has texts of 100 tokens")
    ]
    prompts: Annotated[
        tuple[str, ...],
        MinLen(1),
        DISTINCT,
        Doc("how texts about a subject begin", "each with one `{}` for the subject"),
    ] = SUBJECT_PROMPTS
    references: Annotated[
        str | None,
        Doc(
            "a JSON Lines file with `object` and `text`, texts about things that have the new "
            "object; consistency is measured against them, and not without",
            "an existing file",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class ProbeFile(Checked):
    """Probes of a dataset that are read from a file."""

    path: Annotated[
        str, Doc("relative to the project or absolute, never downloaded", "an existing file")
    ]
    format: Annotated[
        Format,
        Doc(
            "`mquake` (MQuAKE-CF, arXiv:2305.14795), `ripple_edits` (arXiv:2307.12976), `knowedit` "
            "(WikiData_counterfact of KnowEdit, arXiv:2401.01286), or `own`: JSON Lines with "
            "`subject`, `target_new`, `kind`, `prompt`, `answers`, `forbidden`, `before`"
        ),
    ]


@dataclass(frozen=True, kw_only=True)
class Probes(Checked):
    """Questions about what follows from an edit, and what does not."""

    tokens: Annotated[Tokens, Doc("said after each probe at most")]
    files: Annotated[
        dict[str, ProbeFile],
        Doc(
            "per dataset, the probes of a file; those of `geography` are built in "
            "(docs/geography.md)"
        ),
    ] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Harness(Checked):
    """Tasks of lm-evaluation-harness, run on a model that is asked for by name."""

    tasks: Annotated[
        tuple[str, ...],
        MinLen(1),
        DISTINCT,
        Doc(
            "names of tasks or groups of lm-evaluation-harness (`envs/harness.txt`); nothing runs "
            "until a result is asked for by name. The tasks that it brings download their data "
            "from the hub"
        ),
    ]
    include: Annotated[
        str | None,
        Doc(
            "a folder with tasks (YAML) of your own; those on local data (`dataset_path: json`) "
            "need no network. A task may name Python functions, which are run",
            "an existing folder",
        ),
    ] = None
    limit: Annotated[
        Annotated[int, Ge(1)] | None,
        Doc("documents of each task, the first ones", "all of them if not given"),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Judge(Checked):
    """Whether a continuation says the new object, as somebody else judges it: never needed."""

    kinds: Annotated[
        tuple[Literal["edit", "paraphrase"], ...],
        MinLen(1),
        DISTINCT,
        Doc(
            "prompts whose continuations are judged; with neither `verdicts` nor `server` the "
            "questions are written, and nobody is asked",
            "`edit`, `paraphrase`",
        ),
    ] = ("edit", "paraphrase")
    verdicts: Annotated[
        str | None,
        Doc(
            "a JSON Lines file with `id` of a question and `verdict`: true, false or null",
            "an existing file; not with `server`",
        ),
    ] = None
    server: Annotated[
        str | None,
        Doc(
            "address of a server with OpenAI's chat completions; its key, if it has one, is taken "
            "from the variable `OPENAI_API_KEY`",
            "http or https, as `http://127.0.0.1:8000/v1`; not with `verdicts`",
        ),
    ] = None
    model: Annotated[str | None, Doc("the server's name of the model; not given, none is sent")] = (
        None
    )


@dataclass(frozen=True, kw_only=True)
class Evaluation(Checked):
    """What is observed of the unedited model, after k = 1, and at the stop of every run."""

    generation: Generation | None = None
    fluency: Fluency | None = None
    probes: Probes | None = None
    drift: Annotated[
        bool,
        Doc(
            "how far next-token distributions move on the texts of ME-PPL: KL(unedited || edited), "
            "and their perplexity"
        ),
    ] = False
    harness: Harness | None = None
    judge: Judge | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of what is observed of every run; the rest is asked for by name."""
        asked = set(PARTS.values())
        return tuple(name for name, part in vars(self).items() if part and name in asked)


# What each part leaves of a state, beside its scores.
PARTS = {
    "generations.parquet": "generation",
    "fluency.parquet": "fluency",
    "probes.parquet": "probes",
    "probe_generations.parquet": "probes",
    "drift.parquet": "drift",
}
