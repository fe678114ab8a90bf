"""Tasks of lm-evaluation-harness on a model's folder: what of its results is kept.

The package is not among the pipeline's own (envs/harness.txt), so that it is imported when a task
is run and not before.
"""

import importlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modeledit.io.refusal import Refusal
from modeledit.study.observation import Harness

PACKAGE = "lm_eval"
_UNKNOWN = ("N/A", None)  # how the package writes an error that it has no estimate of
_BESIDES = ("alias", "name", "sample_len", "sample_count")  # of a task's results, no metrics


class HarnessError(Refusal):
    """Tasks that cannot be run; the message says what is missing."""


def run_tasks(folder: Path, asked: Harness, include: Path | None, device: str) -> dict[str, Any]:
    """Results of the tasks that `asked` names on the model in `folder`, in float32.

    `include` is the folder with tasks of the user's own. No code of a model's folder is run, nor
    are tasks that run what a model writes. On a CPU one document at a time passes the model, on a
    GPU as many as fit. Returns plain data: of each task and group its metrics with standard errors
    (None where there is none), its version and the number of documents; the package's version.
    Raises HarnessError where the package is not there or does not know a task.
    """
    package = _package(PACKAGE)
    manager = _known_tasks(asked.tasks, include)
    found = package.simple_evaluate(
        model="hf",
        model_args={"pretrained": str(folder), "dtype": "float32", "trust_remote_code": False},
        tasks=list(asked.tasks),
        task_manager=manager,
        batch_size="auto" if device == "cuda" else 1,
        device=device,
        limit=asked.limit,
        log_samples=False,
        confirm_run_unsafe_code=False,
    )
    return {"tasks": results(found), "limit": asked.limit, PACKAGE: package.__version__}


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != PACKAGE:
            raise
        raise HarnessError(
            "evaluation.harness: lm-evaluation-harness is not installed; run `pip install -r "
            "envs/harness.txt`, or have Snakemake do so with --sdm conda"
        ) from error


def _known_tasks(names: tuple[str, ...], include: Path | None) -> Any:
    """The package's manager of tasks; of `include` alone where that has all that are asked for.

    The thousands that it brings take seconds to look through, and are not needed then.
    """
    manager: Any = None
    for defaults in (False, True) if include else (True,):
        manager = _package(f"{PACKAGE}.tasks").TaskManager(
            include_path=str(include) if include else None, include_defaults=defaults
        )
        unknown = [name for name in names if name not in manager.all_tasks]
        if not unknown:
            return manager
    own = f", neither in {include} nor among those that lm-evaluation-harness brings"
    raise HarnessError(
        f"evaluation.harness.tasks: {', '.join(unknown)}: no such task"
        f"{own if include else ''}; `lm-eval ls tasks` lists them, tasks of your "
        "own are read from the folder evaluation.harness.include"
    )


def results(found: Mapping[str, Any]) -> dict[str, Any]:
    """{task or group: metrics, version, samples} of what the package returns.

    A metric is named as the package does, with its filter if that is not "none"; `samples` are
    documents of a task, None of a group.
    """
    kept = {}
    for task, values in found["results"].items():
        metrics = {}
        for name, value in values.items():
            metric, _, filtered = name.partition(",")
            if metric.endswith("_stderr") or metric in _BESIDES or not filtered:
                continue
            error = values.get(f"{metric}_stderr,{filtered}")
            label = metric if filtered == "none" else name
            metrics[label] = {"value": _number(value), "stderr": _number(error)}
        counted = found.get("n-samples", {}).get(task, {})
        kept[task] = {
            "metrics": metrics,
            "version": found.get("versions", {}).get(task),
            "samples": counted.get("effective"),
        }
    return kept


def _number(value: Any) -> float | None:
    """A metric's value; None where there is none, also for what is not a number, as JSON has it."""
    if value in _UNKNOWN or not math.isfinite(float(value)):
        return None
    return float(value)
