"""What is measured of the behavior of a model, and how it is printed.

Fractions are in 0..1 and become percentages only in tables and figures. Every metric is a mean over
the prompts of a request; those of drift are of a text (see `drift`).
"""

from dataclasses import dataclass
from typing import Literal

Unit = Literal["fraction", "bits", "cosine", "nats", "perplexity"]
UNITS: dict[Unit, str] = {
    "fraction": "%",
    "bits": "bits",
    "cosine": "cosine",
    "nats": "nats",
    "perplexity": "",
}


@dataclass(frozen=True)
class BehaviorMetric:
    """What a metric is: its printed heading, unit, and where it is defined.

    `main` ones have a panel and a column, the others stand in behavior.csv alone.
    """

    heading: str
    unit: Unit
    better: Literal["higher", "lower"]
    source: str
    main: bool = True


ROME = "arXiv:2202.05262, section 3.3"
MIRAGE = "arXiv:2502.11177"

_SAID = {
    "said_new_edit": BehaviorMetric("says o*", "fraction", "higher", MIRAGE),
    "said_new_paraphrase": BehaviorMetric("says o*, paraphrases", "fraction", "higher", MIRAGE),
    "kept_neighbor": BehaviorMetric("neighbors kept", "fraction", "higher", MIRAGE),
    "leaked_neighbor": BehaviorMetric("neighbors say o*", "fraction", "lower", "`generation`"),
    "said_old_edit": BehaviorMetric("says o", "fraction", "lower", MIRAGE, main=False),
    "said_old_paraphrase": BehaviorMetric(
        "says o, paraphrases", "fraction", "lower", MIRAGE, main=False
    ),
    "mentioned_new_edit": BehaviorMetric(
        "mentions o*", "fraction", "higher", "`generation`", main=False
    ),
    "mentioned_new_paraphrase": BehaviorMetric(
        "mentions o*, paraphrases", "fraction", "higher", "`generation`", main=False
    ),
    "mentioned_neighbor": BehaviorMetric(
        "neighbors mention theirs", "fraction", "higher", "`generation`", main=False
    ),
    "forced_edit": BehaviorMetric(
        "o* by teacher forcing", "fraction", "higher", "SPEC F.1", main=False
    ),
    "forced_paraphrase": BehaviorMetric(
        "o* by teacher forcing, paraphrases", "fraction", "higher", "SPEC F.1", main=False
    ),
    "gap_edit": BehaviorMetric("teacher-forcing gap", "fraction", "lower", MIRAGE),
    "gap_paraphrase": BehaviorMetric(
        "teacher-forcing gap, paraphrases", "fraction", "lower", MIRAGE
    ),
}
_JUDGED = {
    "judged_edit": BehaviorMetric("judged to say o*", "fraction", "higher", "`judgements`"),
    "judged_paraphrase": BehaviorMetric(
        "judged to say o*, paraphrases", "fraction", "higher", "`judgements`"
    ),
}
_FLUENCY = {
    "fluency": BehaviorMetric("fluency", "bits", "higher", ROME),
    "consistency": BehaviorMetric("consistency", "cosine", "higher", ROME),
}
DRIFT_METRICS = {
    "drift_kl": BehaviorMetric("KL to the unedited", "nats", "lower", "`drift`"),
    "drift_ppl": BehaviorMetric("perplexity of texts", "perplexity", "lower", "`drift`"),
}
PROBE_SOURCES = {
    "two_hop": ("two hops", "arXiv:2305.14795"),  # MQuAKE
    "inverse": ("inverse", "arXiv:2401.01286"),  # KnowEdit
    "alias": ("aliases", "arXiv:2307.12976"),  # RippleEdits, as the next one
    "subject": ("same subject kept", "arXiv:2307.12976"),
}
NEGATION = "negation"
PROBE_KINDS = (*PROBE_SOURCES, NEGATION)
_PROBES = {
    f"{kind}_said": BehaviorMetric(heading, "fraction", "higher", source)
    for kind, (heading, source) in PROBE_SOURCES.items()
} | {
    f"{kind}_forced": BehaviorMetric(
        f"{heading} by teacher forcing", "fraction", "higher", source, main=False
    )
    for kind, (heading, source) in PROBE_SOURCES.items()
}
_PROBES |= {"negation_held": BehaviorMetric("negation held", "fraction", "higher", "`probing`")}

BEHAVIOR_METRICS: dict[str, BehaviorMetric] = _SAID | _JUDGED | _PROBES | _FLUENCY | DRIFT_METRICS
BEHAVIOR_FRACTIONS = tuple(n for n, m in BEHAVIOR_METRICS.items() if m.unit == "fraction")
STATES = ("unedited", "first", "stop")


def headed(metric: BehaviorMetric) -> str:
    """The heading with the unit, where it does not say it itself."""
    said = metric.unit == "perplexity"
    return metric.heading if said else f"{metric.heading} ({UNITS[metric.unit]})"
