"""Which published form a record has, told by its fields; forms that are refused, by their name."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from modeledit.data.records import shown

COUNTERFACT, FLAT, ZSRE, ELIGIBLE = "CounterFact", "flat CounterFact", "zsRE", "eligible"
OWN = "facts of one's own"

_AS_COUNTERFACT = (
    "write each edit as a record of CounterFact (case_id, requested_rewrite, paraphrase_prompts, "
    "neighborhood_prompts) or as a flat one (subject, prompt, target_new, ground_truth, "
    "rephrase_prompt, locality_prompt, locality_ground_truth)"
)


@dataclass(frozen=True)
class Form:
    """A form of records: its name, how it is recognised, and what to do where it is not read."""

    name: str
    fits: Callable[[Mapping[str, Any]], bool]
    way_out: str


def _has(*names: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda record: all(name in record for name in names)


def _any(*names: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda record: any(name in record for name in names)


# The first one that fits counts.
FORMS = (
    Form(
        "MQuAKE",
        lambda r: isinstance(r.get("requested_rewrite"), list) or _any("new_single_hops")(r),
        "it asks questions over several edits at once: as probes it belongs into the "
        "configuration's `evaluation.probes.files`; " + _AS_COUNTERFACT,
    ),
    Form(COUNTERFACT, _has("requested_rewrite"), "give the dataset `source: counterfact`"),
    Form(
        "of this project (requests.jsonl)",
        _has("subject", "prompt", "target_new", "target_true", "paraphrases", "neighbors"),
        "it is made from a dataset, give that instead; or " + _AS_COUNTERFACT,
    ),
    Form(
        "KnowEdit's WikiBio",
        _has("text", "labels", "concept"),
        "it edits whole texts, not facts with a subject and an object; " + _AS_COUNTERFACT,
    ),
    Form(
        ELIGIBLE,
        lambda r: (
            "neighborhood_samples" in r
            and "target_new" in r
            and isinstance(r.get("locality", {}), dict)
        ),
        "a set that passed the authors' own filter; name it in the configuration's `eligible`, not "
        "as a dataset",
    ),
    Form(
        "KnowEdit",
        lambda r: (
            _has("subject", "prompt", "target_new")(r)
            and (isinstance(r.get("locality"), dict) or isinstance(r.get("portability"), dict))
        ),
        "it has no old object for each edit and its neighbors are grouped otherwise (its probes "
        "may be given as `evaluation.probes.files`); " + _AS_COUNTERFACT,
    ),
    Form(ZSRE, _has("src"), "give the dataset `source: zsre`"),
    Form(
        FLAT,
        _has("subject", "prompt", "target_new", "ground_truth"),
        "give the dataset `source: counterfact`",
    ),
    Form(
        OWN,
        _has("subject", "prompt", "new_object"),
        "give the dataset `source: own`",
    ),
    Form(
        "FastEdit",
        _has("subject", "prompt", "target"),
        "it has no old object, no paraphrases and no neighbors, so nothing could be measured; "
        + _AS_COUNTERFACT,
    ),
)


def recognise(records: Iterable[Any]) -> Form | None:
    """The form of the first record that has one; None where no record has."""
    for record in records:
        if isinstance(record, dict):
            found = next((form for form in FORMS if form.fits(record)), None)
            if found:
                return found
    return None


def unknown(record: Any) -> str:
    """What a file is whose records have no known form, and what to do."""
    fields = ", ".join(map(shown, list(record)[:8])) if isinstance(record, dict) else shown(record)
    return (
        f"records of no known form (the first one has {fields or 'no fields'}); {_AS_COUNTERFACT}"
    )
