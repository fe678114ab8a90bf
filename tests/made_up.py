"""A small made-up results folder with everything a report can show, and texts that try to break it.

MEMIT and NA_MEMIT are run on two trials of six requests, PMET is planned and not run. The "model"
learns request i at iteration i % 3 + 1, and breaks the neighbors of every third request.
"""

import json
from dataclasses import asdict
from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import yaml

from modeledit.data.requests import Neighbor, Request, write_requests
from modeledit.evaluation.aggregation import read_metrics
from modeledit.evaluation.metrics import read_scores, request_metrics
from modeledit.evaluation.significance import DIFFERENCE_COLUMNS, INTERVAL_COLUMNS
from modeledit.paper import comparison
from modeledit.paper import judging as verdicts
from modeledit.presentation.figures.trajectories import figure_trajectories, trajectories
from modeledit.presentation.report import Sources
from modeledit.presentation.single_edits import RunFiles
from modeledit.presentation.tables import Selection, Words, build
from modeledit.presentation.typesetting import to_csv, to_html
from modeledit.study.layout import RunKey
from modeledit.study.stopping import Rule
from tests.presets import CORRECTED, CORRECTED_SCORING, ROOT, averaging
from tests.tables import run_metrics

DEFAULT = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))
HOSTILE = "</script><script>alert('x')</script>"
SUBJECTS = ("Lyon", HOSTILE, "Köln & <b>Ulm</b>", "Rio {de} Janeiro", "東京", 'Quote "Town"')
METHODS = ("MEMIT", "NA_MEMIT")
TRIALS = (1, 2)
ITERATIONS = 3
NEW, OLD = 7, 8  # token ids of the two objects


def request(number: int) -> Request:
    subject = SUBJECTS[number % len(SUBJECTS)]
    neighbors = tuple(Neighbor("{} lies in", f"Place {number}.{j}", "France") for j in range(3))
    return Request(
        id=number,
        subject=subject,
        prompt="{} lies in",
        target_new="Japan",
        target_true="France",
        paraphrases=(f"A road. {subject} is a town of", f"The map. {subject} belongs to"),
        neighbors=neighbors[:2],
        editing_neighbors=neighbors[2:],
    )


def scores(requests: list[Request], k: int, top: bool = True) -> pd.DataFrame:
    """Scores after iteration k; `top` adds what older results do not have."""
    rows = []
    for one in requests:
        learned = k > one.id % 3
        prompts = [("edit", 0), *(("paraphrase", j) for j in range(len(one.paraphrases)))]
        prompts += [("neighbor", j) for j in range(len(one.neighbors))]
        for kind, index in prompts:
            hit = learned and (kind != "neighbor" or (one.id % 3 == 0 and index == 0))
            p = {"new": 0.9, "true": 0.05} if hit else {"new": 0.01, "true": 0.7}
            likeliest = [" Japan", " France"] if hit else [" France", " Italy"]
            for name, token in (("new", NEW), ("true", OLD)):
                row = {"request": one.id, "kind": kind, "index": index, "object": name}
                row |= {"token_ids": [token], "logprobs": [np.log(p[name])]}
                row["argmax"] = [NEW if hit else OLD]
                if top:
                    row["ranks"] = [{"new": 1, "true": 2} if hit else {"new": 9, "true": 1}][0]
                    row["ranks"] = [row["ranks"][name]]
                    row["top"] = [*likeliest, " ", "\n", HOSTILE]
                    chances = [max(p.values()), 0.05, 0.03, 0.01, 0.00001]
                    row["top_logprobs"] = np.log(chances).tolist()
                rows.append(row)
    return pd.DataFrame(rows)


def log(requests: list[Request], k: int) -> pd.DataFrame:
    """Logs of iteration k: p falls tenfold by iteration, one edit's is infinite at first."""
    before = [np.inf if k == 1 and one.id == 4 else 1 + 1000.0 * 0.1 ** (2 * k) for one in requests]
    return pd.DataFrame(
        {
            "request": [one.id for one in requests],
            "stop_reason": ["max_steps" if k == 1 else "loss"] * len(requests),
            "steps": 20 - k,
            "loss": 0.04 * k,
            "p_init": before,
            "p_bar": 1.02,
            "p_hat": [1.02 + 50.0 * 0.1 ** (2 * (k - 1)) for _ in requests],
        }
    )


def make_results(folder: Path, top: bool = True) -> Sources:
    """Write the results folder and say where its files are."""
    config = DEFAULT | {
        "name": "made-up",
        "preset": "corrected",
        "switches": {"accuracy": "exact"},
        "seed": 1,
        "datasets": {"places": {"source": "counterfact", "path": "data/places.json"}},
        "trials": {"count": len(TRIALS), "size": len(SUBJECTS)},
        "stop": {"mode": "early", "epsilon": 1.0, "iterations": 2, "extended": ITERATIONS},
        "runs": [
            {
                "dataset": "places",
                "requests": "eligible",
                "models": ["tiny"],
                "methods": [*METHODS, "PMET"],
            }
        ],
    }
    whole = {
        "config": config,
        "switches": asdict(CORRECTED),
        "models": {"tiny": {"title": "Tiny <1M>", "comparable": False}},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(whole, sort_keys=False), encoding="utf-8")
    base = folder / "places-eligible" / "tiny"
    contexts = folder / "statistics" / "tiny" / "contexts.json"
    contexts.parent.mkdir(parents=True)
    contexts.write_text(json.dumps({"templates": {"10x1": ["{}", f"The {HOSTILE}. {{}}"]}}))
    runs, metrics = [], []
    for trial in TRIALS:
        requests = [request(i) for i in range(len(SUBJECTS))]
        known = folder / f"trial{trial}.jsonl"
        write_requests(known, requests)
        unedited = base / "unedited" / f"trial{trial}" / "scores.parquet"
        unedited.parent.mkdir(parents=True)
        scores(requests, 0, top).to_parquet(unedited)
        for method in METHODS:
            run = base / method / f"trial{trial}"
            logs = {}
            for k in range(1, ITERATIONS + 1):
                (run / f"iter{k}").mkdir(parents=True)
                # The last iteration comes after the stop: its files hold no rows.
                kept = requests if k < ITERATIONS else []
                logs[k] = log(requests, k).head(len(kept))
                logs[k].to_parquet(run / f"iter{k}" / "edits.parquet")
                after = scores(requests, k, top)
                after[after["request"].isin([r.id for r in kept])].to_parquet(
                    run / f"iter{k}" / "scores.parquet"
                )
            paths = [unedited, *(run / f"iter{k}/scores.parquet" for k in logs)]
            found = {k: read_scores(path) for k, path in enumerate(paths)}
            key = RunKey("places-eligible", "tiny", method, trial)
            metrics.append(
                run_metrics(found, logs, run=key, scoring=CORRECTED_SCORING, sequential=False)
            )
            values = [
                request_metrics(found[k], found[0] if k else None, "exact", "sum").assign(k=k)
                for k in range(ITERATIONS)
            ]
            pd.concat(values).to_parquet(run / "request_metrics.parquet")
            runs.append(RunFiles(run / "request_metrics.parquet", known, contexts, unedited))
    pd.concat(metrics).to_csv(folder / "metrics.csv", index=False)
    return Sources(
        config=folder / "config.yaml",
        metrics=folder / "metrics.csv",
        tables=[_table(folder)],
        figures=_figures(folder),
        runs=runs,
        **_lists(folder),
    )


def _table(folder: Path) -> Path:
    metrics = read_metrics(folder / "metrics.csv")
    table = build(
        "iterative",
        metrics,
        Selection("places-eligible"),
        averaging(Rule("trial")),
        Words("places-eligible", {"tiny": "Tiny <1M>"}),
    )
    path = folder / "tables" / "places-eligible.iterative.html"
    path.parent.mkdir()
    path.write_text(to_html(table), encoding="utf-8")
    path.with_suffix(".csv").write_text(to_csv(table), encoding="utf-8")
    return path


def _figures(folder: Path) -> list[Path]:
    stages = {"figure": "perplexity_stages", "label": f"{HOSTILE}: France → Japan", "met": True}
    stages |= {"epsilon": 1.0, "scale": "boxcox"}
    records = [stages, {"figure": "underedit", "n_all": 6, "n_underedit": 4}]
    paths = []
    for record in records:
        path = folder / "figures" / f"places-eligible.tiny.MEMIT.{record['figure']}.png"
        path.parent.mkdir(exist_ok=True)
        matplotlib.image.imsave(path, np.full((40, 60, 3), 0.5))
        path.with_suffix(".json").write_text(json.dumps(record), encoding="utf-8")
        paths.append(path)
    path = folder / "figures" / "places-eligible.tiny.trajectories.png"
    found = trajectories(read_metrics(folder / "metrics.csv"), None, averaging(Rule("trial")))
    figure_trajectories(found, path, epsilon=1.0, title="Tiny <1M>")
    return [*paths, path]


def _lists(folder: Path) -> dict[str, Path]:
    run = {"dataset": "places-eligible", "model": "tiny", "method": "MEMIT"}
    cell = (
        dict.fromkeys(comparison.COLUMNS) | run | {"k": 1, "tolerance": "2 pp", "reason": HOSTILE}
    )
    judged = (comparison.MATCH, comparison.DIFFERS, comparison.NOT_RUN)
    claim = {"id": "C1", "section": "5.1", "statement": HOSTILE, "evidence": None}
    interval = {"at": "stop", "k": 2, "kind": "edits", "n_requests": 6, "n_trials": 2}
    frames = {
        "comparison": [
            cell
            | {"table": 1 + i % 2, "metric": "eff_acc", "published": 0.5, "verdict": judged[i % 3]}
            | {"ours": None if judged[i % 3] == comparison.NOT_RUN else 0.25 + i / 1000}
            for i in range(150)
        ],
        "claims": [
            claim | {"scope": "small model", "verdict": verdicts.HOLDS},
            claim | {"scope": "printed in the paper", "verdict": verdicts.FAILS},
            claim | {"id": "C2", "scope": "small model", "verdict": verdicts.IN_PART},
            claim | {"id": "C2", "scope": "the paper's models", "verdict": verdicts.NOT_RUN},
        ],
        "intervals": [
            dict.fromkeys(INTERVAL_COLUMNS)
            | run
            | interval
            | {"metric": metric, "mean": 0.5, "low": 0.25, "high": 0.75}
            for metric in ("eff_acc", "dp")
        ],
        "differences": [
            dict.fromkeys(DIFFERENCE_COLUMNS)
            | {"dataset": "places-eligible", "model": "tiny", "comparison": "neighbor"}
            | {"metric": "spec_acc", "difference": -0.125, "p": 0.03, "significant": True}
        ],
        "hardware": [
            run
            | {"trial": 1, "k": k, "device": "A <GPU>", "seconds": 1800.0, "peak_host_gb": 2.5}
            | {"peak_device_gb": None, "energy_kwh": None}
            for k in (1, 2)
        ],
    }
    paths = {}
    for name, rows in frames.items():
        paths[name] = folder / f"{name}.csv"
        pd.DataFrame(rows).to_csv(paths[name], index=False)
    paths["provenance"] = folder / "provenance.json"
    provenance = {
        "code": {
            "commit": "0123abcd",
            "dirty": True,
            "changed": ["modeledit/lm/hooks.py"],
        },
        "python": "CPython 3.11.7",
        "packages": {"torch": {"pinned": "2.13.0", "found": None}},
        "machine": {
            "system": "Linux",
            "processor": "A processor",
            "cores": 2,
            "memory_gib": 4.0,
            "gpus": [{"name": "A GPU", "driver": "1", "memory": "2 MiB"}],
        },
        "files": {"metrics.csv": "00ff"},
        "models": {"tiny": {"origin": "tiny.gguf", "parameters": 12, "weights_sha256": "aa11"}},
    }
    paths["provenance"].write_text(json.dumps(provenance), encoding="utf-8")
    return paths
