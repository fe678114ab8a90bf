"""What Snakemake gives a script, of its own classes, for scripts that are run without it."""

from types import SimpleNamespace
from typing import Any

from snakemake.iocontainers import InputFiles, Namedlist, OutputFiles, Params, Wildcards


def named(kind: type[Namedlist], values: dict[str, Any]) -> Namedlist:
    """Values by name; files of a list stand flat among the others, and as a list under its name."""
    made = kind()
    for name, value in values.items():
        several = isinstance(value, list) and kind in (InputFiles, OutputFiles)
        start = len(made)
        made.extend(value if several else [value])
        made._set_name(name, start, end=len(made) if several else None)
    return made


def script_job(
    log: str,
    input: dict[str, Any] | None = None,
    output: dict[str, Any] | None = None,
    params: dict[str, Any] | None = None,
    wildcards: dict[str, Any] | None = None,
) -> SimpleNamespace:
    """The object `snakemake` of a script."""
    return SimpleNamespace(
        input=named(InputFiles, input or {}),
        output=named(OutputFiles, output or {}),
        params=named(Params, params or {}),
        wildcards=named(Wildcards, wildcards or {}),
        log=[log],
    )
