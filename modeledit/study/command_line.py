"""Nested values of `--config`, which Snakemake takes as text: `--config 'trials={size: 2}'`."""

from collections.abc import Mapping, MutableMapping
from typing import Any

import yaml


def retype(config: MutableMapping[str, Any], given: Mapping[str, Any]) -> None:
    """Give the nested texts of the command line, `given`, the types that YAML reads in them.

    They are changed in `config` in place, where it still holds them. A value that is not nested
    has its type from Snakemake already.
    """
    for key, value in given.items():
        if isinstance(value, Mapping | list) and key in config:
            config[key] = _retyped(config[key], value)


def _retyped(value: Any, given: Any) -> Any:
    """`value` with the types of YAML, in as far as it is what was `given`."""
    if isinstance(value, Mapping) and isinstance(given, Mapping):
        return {k: _retyped(v, given[k]) if k in given else v for k, v in value.items()}
    if isinstance(value, list) and isinstance(given, list) and len(value) == len(given):
        return [_retyped(v, g) for v, g in zip(value, given, strict=True)]
    if isinstance(value, str) and value == given:
        return _typed(value)
    return value


def _typed(text: str) -> Any:
    """The number, boolean or null that YAML reads in a text that stands alone; else the text."""
    tag = yaml.SafeLoader("").resolve(yaml.ScalarNode, text, (True, False))
    if tag.rpartition(":")[2] not in ("int", "float", "bool", "null"):
        return text
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):  # numbers of thousands of digits
        return text
