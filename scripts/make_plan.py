"""What the study will cost and what is missing: printed, and written beside the results."""

import os
from dataclasses import asdict
from pathlib import Path

from modeledit.fetch.download import offline_folder
from modeledit.io.files import finished, write_json
from modeledit.io.log import journal
from modeledit.planning.costs import probe
from modeledit.planning.plan import make_plan
from modeledit.planning.plan_text import describe
from modeledit.planning.preflight import missing
from modeledit.planning.survey import busy, chain_of, earlier_jobs, published_stops, this_machine

with journal(snakemake.log[0]) as log:
    settings, folder = snakemake.params.settings, Path(snakemake.params.folder)
    compute, loaded = settings.config["compute"], busy()
    present = {
        rule: {key: Path(path).exists() for key, path in jobs.items()}
        for rule, jobs in snakemake.params.files.items()
    }
    chains = [
        chain_of(
            run,
            Path(file),
            [Path(s) for s in states],
            settings.most_requests(run.dataset, run.model),
        )
        for run, file, states in snakemake.params.chains
    ]
    machine = this_machine(
        [folder, Path("resources")],
        offline_folder(settings.config.get("offline")) is not None,
        max(1, (os.cpu_count() or 1) // compute["threads"]),
    )
    speeds = {}
    if compute["device"] != "cuda" or machine.gpu:
        speeds = probe(
            settings.models,
            compute["device"],
            compute["threads"],
            compute["precision"],
            compute["token_budget"],
        )
    plan = make_plan(
        settings,
        present,
        [Path(path).exists() for path in snakemake.params.paper],
        chains,
        earlier_jobs(folder.parent),
        published_stops(),
        speeds,
    )
    folders = {
        name: Path(model["source"]["path"]).is_dir()
        for name, model in settings.models.items()
        if model["source"]["kind"] == "folder"
    }
    missing_items = missing(settings, machine, plan.disk_most, present, folders)
    text = describe(plan, machine, compute, speeds, missing_items, loaded)
    print(text, flush=True)
    with finished(folder / "plan.txt") as path:
        path.write_text(text, encoding="utf-8")
    facts = {"machine": asdict(machine), "missing": missing_items}
    facts["speeds"] = {name: asdict(speed) for name, speed in speeds.items()}
    facts["hours"] = {"expected": plan.hours(), "most": plan.hours(most=True)}
    write_json(folder / "plan.json", asdict(plan) | facts)
