"""The switches: where the released code and the paper part ways, and which way is taken (SPEC I).

`config/presets.yaml` settles every one of them for both presets; nothing here has a default. The
classes say who needs which: what is scored, what an edit computes, and the rest, which only
concerns metrics.
"""

from dataclasses import dataclass, fields
from typing import Annotated, Literal, TypeVar

from annotated_types import Ge, Le

from modeledit.study.checked import Checked, Doc
from modeledit.study.methods import KeyCache

Narrowed = TypeVar("Narrowed", bound="ScoringSwitches")


@dataclass(frozen=True, kw_only=True)
class ScoringSwitches(Checked):
    """What decides what is scored, and where."""

    eval_positions: Annotated[
        Literal["mask_aware", "hf_default"],
        Doc(
            "a prompt starts at position 0, or where the left padding of its batch puts it; GPT-2 "
            "only, also in the neighbor filter (I14)"
        ),
    ]
    competitor: Annotated[
        Literal["whole", "after_pad"],
        Doc(
            "zsRE's competitor `<|endoftext|>` is scored with all its tokens, or loses one for each"
            " end-of-text in it (I15)"
        ),
    ]
    specificity_gt: Annotated[
        Literal["dataset", "model_output", "model_output_everywhere"],
        Doc(
            "a neighbor's object is the dataset's, or what the unedited model said, an empty answer"
            " too (`model_output_everywhere`: on the unedited row too) (I18, I19); see below"
        ),
    ]
    zsre_locality: Annotated[
        Literal["whole", "pieces"],
        Doc(
            "zsRE's locality answer is one object, or one prompt per token, glued to the question "
            "(I20)"
        ),
    ]


@dataclass(frozen=True, kw_only=True)
class EditingSwitches(ScoringSwitches):
    """What decides the numbers of an edit, its scores included."""

    target_tokenization: Annotated[
        Literal["continuation", "legacy"],
        Doc('target ids: what follows the prompt\'s ids, or `encode(" " + o*)` alone (I11-I13)'),
    ]
    neighbor_weight: Annotated[
        Literal["sum", "row_mean"],
        Doc("a neighbor's loss has weight 1 as in the equation, or is one row of the mean (I1)"),
    ]
    neighbor_length: Annotated[
        Literal["own", "edit"],
        Doc("a neighbor's loss is divided by its own length or that of o* (I2)"),
    ]
    nap_prefixes: Annotated[
        Literal["first", "all"],
        Doc(
            "a prefixed neighbor has one row with the first generated prefix, or (`all`) one per "
            "prefix, averaged (I3)"
        ),
    ]
    key_cache: Annotated[
        KeyCache,
        Doc(
            "whose keys AlphaEdit and MEMIT_seq keep in place besides those that they write: "
            "nobody's, those of `other_batches`, or (`released`) those of every earlier iteration "
            "too, of the same batch (I25)"
        ),
    ]
    rome_covariance: Annotated[
        bool, Doc("ROME writes along C^-1 k as in its derivation, or along k (I9)")
    ]
    perplexity: Annotated[
        Literal["edit_rows", "legacy"],
        Doc(
            "p over the rows of o* alone; or with PMET's factor on the loss, neighbor rows mixed "
            "in, and ROME's p-hat taken from the next iteration's first step on the moving model "
            "(I5-I8). It rules the stop; while ROME's legacy p-hat is not there yet, the stop uses "
            "the one measured at the end of the iteration"
        ),
    ]

    def scoring(self) -> ScoringSwitches:
        """Those that decide what is scored."""
        return _narrowed(self, ScoringSwitches)


@dataclass(frozen=True, kw_only=True)
class Switches(EditingSwitches):
    """All switches, those of the metrics included."""

    accuracy: Annotated[
        Literal["exact", "token"],
        Doc("all tokens of the object, or the fraction of them (I17)"),
    ]
    success: Annotated[
        Literal["sum", "mean"],
        Doc("compare log-probabilities of whole objects, or means per token (I16)"),
    ]
    score_zeros: Annotated[
        Literal["keep", "drop"],
        Doc("a zero makes the harmonic mean zero, or leaves it (I21)"),
    ]
    trial_score: Annotated[
        Literal["mean_of_scores", "mean_of_rounded_scores", "hm_of_means"],
        Doc("how trials become one score (F.4)"),
    ]
    round_per_trial: Annotated[
        Annotated[int, Ge(0), Le(6)] | None, Doc("rounding of each trial before averaging (F.3)")
    ]
    stop_row: Annotated[
        Literal["trial", "mean"],
        Doc(
            "the stop in all tables, tests, claims and figures: each run's own, because a run "
            "decides by its own numbers when it stops and trials of opposite sign cannot cancel; or"
            " the first k at which the means over trials meet the rule, as in the paper's tables "
            "(G.1). A table of all iterations marks that k, or the first one by which all trials "
            "have met the rule. The comparison with the paper's cells always goes by the means, "
            "which is what is printed"
        ),
    ]

    def editing(self) -> EditingSwitches:
        """Those that decide the numbers of an edit."""
        return _narrowed(self, EditingSwitches)


def _narrowed(switches: ScoringSwitches, kind: type[Narrowed]) -> Narrowed:
    return kind(**{field.name: getattr(switches, field.name) for field in fields(kind)})
