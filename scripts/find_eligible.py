"""Find the neighbors that the unedited model knows, and the requests that have enough of them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import modeledit.lm.libraries  # noqa: F401, first: see there
from modeledit.data.readers import read_eligible
from modeledit.data.requests import Request, read_requests, write_requests
from modeledit.io.files import optional_path, write_json
from modeledit.io.frames import write_csv
from modeledit.io.log import journal
from modeledit.io.refusal import Refusal
from modeledit.io.seals import sealed
from modeledit.lm import eligibility
from modeledit.lm.budget import token_budget
from modeledit.lm.device import prepare_device
from modeledit.lm.eligibility import Filter, Filtered, compare_sets
from modeledit.lm.limits import check_lengths
from modeledit.lm.model import load_model
from modeledit.study.settings import TokenBudget

log = logging.getLogger("modeledit")
SHOWN = 20  # neighbors in the log where no request is left


@dataclass(frozen=True)
class Inputs:
    """A trial, a prepared model, and the authors' own eligible set where it is to be compared."""

    requests: Path
    model: Path
    authors: Path | None = None


@dataclass(frozen=True)
class Outputs:
    """The eligible requests, and what became of every neighbor and request.

    `kept` is where the verdicts are kept if no request is left: a failed job's outputs go with it.
    """

    requests: Path
    verdicts: Path
    summary: Path
    yields: Path
    kept: Path


def find_eligible(
    inputs: Inputs, how: Filter, tokens: TokenBudget, device: str, outputs: Outputs
) -> None:
    """Filter a trial; Refusal that names the kept verdicts where no request is left, or every
    request with too few neighbors where none may be left out."""
    requests = read_requests(inputs.requests)
    model, tokenizer = load_model(inputs.model, device)
    check_lengths(model, tokenizer, requests)
    budget = token_budget(tokens, model)
    found = eligibility.find_eligible(model, tokenizer, requests, how, budget)
    log.info("%s", found.yields)
    report: dict[str, object] = {"positions": how.eval_positions, "yields": found.yields}
    if inputs.authors:
        report["authors"] = compare_sets(found.requests, read_eligible(inputs.authors))
    write_json(outputs.yields, report)
    write_csv(outputs.verdicts, found.verdicts)
    write_csv(outputs.summary, found.summary)
    if how.others == "refuse":
        check_all_eligible(requests, found, how.editing_neighbors)
    if not found.requests:
        write_csv(outputs.kept, found.verdicts)
        log.error(
            "what the model said of the first neighbors:\n%s",
            found.verdicts.head(SHOWN).to_string(),
        )
        raise Refusal(
            f"{inputs.requests}: no request has {how.editing_neighbors + 1} neighbors that the "
            f"model knows; {outputs.kept} has what it said of each. Take larger trials, other "
            "facts or another model"
        )
    outputs.kept.unlink(missing_ok=True)
    write_requests(outputs.requests, found.requests)


def check_all_eligible(requests: Sequence[Request], found: Filtered, editing: int) -> None:
    """Refusal that names every request with fewer known neighbors than `editing` and one more."""
    reasons = found.summary[~found.summary["eligible"]].set_index("request")["reason"]
    if reasons.empty:
        return
    short = "\n".join(f"  {r.text!r}: {reasons[r.id]}" for r in requests if r.id in reasons.index)
    raise Refusal(
        f"{len(reasons)} of {len(requests)} facts have fewer than {editing + 1} neighbors that the "
        f"unedited model knows, {editing} to edit with and one to evaluate on:\n{short}\nGive "
        "them more in the field 'neighbors', prompts of the form of the fact's own with their "
        "objects, or take a method without NA_ or NAP_"
    )


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        given, params = snakemake.input, snakemake.params
        choosing = ("eval_positions", "editing_neighbors", "choice", "copies", "seed", "others")
        authors = optional_path(given.get("authors"))
        find_eligible(
            Inputs(Path(given.requests), Path(given.model), authors),
            Filter(**{name: params.get(name) for name in choosing}),
            snakemake.resources.token_budget or "auto",
            prepare_device(params.device, snakemake.threads, params.deterministic),
            Outputs(
                **{name: Path(path) for name, path in snakemake.output.items()},
                kept=Path(snakemake.log[0]).with_suffix(".verdicts.csv"),
            ),
        )
