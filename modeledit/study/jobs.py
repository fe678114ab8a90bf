"""The jobs of a study as a plan names them."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a job does, as a plan names it: its rule, but requests come from one of several."""

    DOWNLOAD = "download"
    PREPARE = "prepare_model"
    CONTEXTS = "make_contexts"
    CONVERT = "convert_covariance"
    GATHER = "gather_covariance"
    FACTORIZE = "factorize_covariance"
    NULL_SPACE = "find_null_spaces"
    REQUESTS = "requests"
    ELIGIBLE = "find_eligible"
    UNEDITED = "score_unedited"
    EVALUATE = "evaluate_run"
    CONTINUE = "continue_prompts"
    TELL = "tell_of_subjects"
    PROBES = "build_probes"
    ASK = "ask_probes"
    DRIFT = "measure_drift"
    BEHAVIOR = "evaluate_behavior"


@dataclass(frozen=True)
class Job:
    """A job by the file that it leaves, and what of the study it belongs to, if to one part."""

    kind: Kind
    file: str
    model: str = ""
    dataset: str = ""
    trial: int = 0
