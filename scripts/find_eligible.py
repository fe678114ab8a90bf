"""Find the neighbors that the unedited model knows, and the requests that have enough of them."""

from pathlib import Path

from modeledit.data.readers import read_eligible
from modeledit.data.requests import read_requests, write_requests
from modeledit.io.files import finished, write_json
from modeledit.io.log import journal
from modeledit.lm.device import prepare_device
from modeledit.lm.eligibility import compare_sets, judge_neighbors, select_eligible, yields
from modeledit.lm.model import load_model

with journal(snakemake.log[0]) as log:
    compute, filtering = snakemake.params.compute, snakemake.params.eligible
    device = prepare_device(compute["device"], snakemake.threads, compute["deterministic"])
    requests = read_requests(Path(snakemake.input.requests))
    model, tokenizer = load_model(Path(snakemake.input.model), device)
    # Only absolute positions notice left padding (I14): there, both readings are counted.
    readings, budget = {snakemake.params.eval_positions}, snakemake.resources.token_budget
    readings |= {"mask_aware", "hf_default"} if model.counts_padding else set()
    verdicts = {
        name: judge_neighbors(model, tokenizer, requests, budget, name) for name in sorted(readings)
    }
    chosen = verdicts[snakemake.params.eval_positions]
    n_editing = filtering["editing_neighbors"]
    eligible, summary = select_eligible(
        requests, chosen, n_editing, filtering["choice"], snakemake.params.seed
    )
    counts = yields(requests, verdicts, n_editing)
    log.info("%s", counts)
    report = {"positions": snakemake.params.eval_positions, "yields": counts}
    if snakemake.input.get("authors"):
        report["authors"] = compare_sets(eligible, read_eligible(Path(snakemake.input.authors)))
    write_json(Path(snakemake.output.yields), report)
    for frame, path in ((chosen, snakemake.output.verdicts), (summary, snakemake.output.summary)):
        with finished(Path(path)) as temporary:
            frame.to_csv(temporary, index=False)
    if not eligible:
        raise ValueError(
            f"{snakemake.input.requests}: no request has {n_editing + 1} neighbors that the model "
            "knows; take larger trials, other facts or another model"
        )
    write_requests(Path(snakemake.output.requests), eligible)
