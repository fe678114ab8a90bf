"""Marks for typed settings: what a value may be, and what it means.

They stand in the annotations of frozen dataclasses. `validation` checks values against them and
`docs/configuration.md` is written from them, so that a rule stands in one place. Importing this
costs next to nothing: jobs that only receive settings do not load the validator.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from annotated_types import Predicate


@dataclass(frozen=True)
class Doc:
    """What a setting means, for the manual; `allowed` says more than its type can."""

    meaning: str
    allowed: str = ""


@dataclass(frozen=True)
class Matching:
    """A pattern that the whole of a text must match."""

    pattern: str

    def __get_pydantic_core_schema__(
        self, source: Any, handler: Callable[[Any], dict[str, Any]]
    ) -> dict[str, Any]:
        return handler(source) | {"pattern": self.pattern}


@dataclass(frozen=True)
class OneOf:
    """Names that another part of the library knows, and no others."""

    names: tuple[str, ...]

    def __get_pydantic_core_schema__(self, source: Any, handler: object) -> dict[str, Any]:
        return {"type": "literal", "expected": list(self.names)}


def _distinct(values: Collection) -> bool:
    return len(set(values)) == len(values)


DISTINCT = Predicate(_distinct)


class Checked:
    """Base of settings that come from a file: no unknown key, no conversion, no NaN or infinity."""

    __pydantic_config__ = {"extra": "forbid", "strict": True, "allow_inf_nan": False}
