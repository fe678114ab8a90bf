"""Facts of one's own: of a file, a model and a method, a whole configuration is made.

All facts are one trial, edited at once. They go through the neighbor filter, so that what is
called a neighbor is something that the unedited model knows; only a method with neighbors in its
loss needs some of every fact.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from modeledit.study.layout import DATASET_OF_FACTS
from modeledit.study.methods import METHODS
from modeledit.study.settings import Facts

EXPORT_RECORD = "edited.json"  # the last file of an exported model


@dataclass(frozen=True)
class Study:
    """What was run: names to print, and the rule's epsilon."""

    model: str
    method: str
    epsilon: float
    small: bool  # no model of the paper


def with_facts(
    config: Mapping[str, Any], root: Path, count: Callable[[Path], int]
) -> dict[str, Any]:
    """`config` with datasets, trials, eligible and runs as its block `facts` says; without one, or
    with one whose values are no texts, as it is.

    `count` counts the records of the file, below `root`; it says what is wrong with one that cannot
    be read.
    """
    given = config.get("facts")
    if isinstance(given, str):
        given = {"path": given}
    if not isinstance(given, Mapping):
        return dict(config)
    described = {field.name: field.default for field in fields(Facts)} | dict(given)
    path, model, method = (described[name] for name in ("path", "model", "method"))
    if not all(isinstance(value, str) for value in (path, model, method)):
        return {**config, "facts": dict(given)}
    neighbors = METHODS[method].n_neighbors if method in METHODS else 0
    file = root / path
    return {
        **config,
        "facts": dict(given),
        "datasets": {DATASET_OF_FACTS: {"source": "own", "path": path}},
        # A file that is not there is refused with the rest of the configuration.
        "trials": {"count": 1, "size": max(1, count(file)) if file.exists() else 1},
        "eligible": {
            "editing_neighbors": neighbors,
            "choice": "first",
            "others": "refuse" if neighbors else "keep",
        },
        "runs": [
            {
                "dataset": DATASET_OF_FACTS,
                "requests": "eligible",
                "models": [model],
                "methods": [method],
            }
        ],
    }


def takes_export(folder: Path) -> bool:
    """Whether an edited model may be written into `folder`: it is not there, is empty, or holds an
    earlier export."""
    if not folder.exists():
        return True
    return folder.is_dir() and (not any(folder.iterdir()) or (folder / EXPORT_RECORD).is_file())
