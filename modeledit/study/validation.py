"""Values of a file held against their types, with one line for each thing that is wrong.

pydantic does the checking; the lines name the place, the key, the value and what is allowed.
"""

import json
from collections import defaultdict
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin
from typing import get_type_hints as _hints

from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")


# What pydantic calls the problem: what we say, and the limit's name in its context.
_LIMITS = {
    "greater_than": ("greater than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
    "string_pattern_mismatch": ("matching", "pattern"),
}
_TYPES = {
    "int_type": "integer",
    "int_from_float": "integer",
    "float_type": "number",
    "bool_type": "boolean",
    "string_type": "string",
    "dict_type": "mapping",
    "dataclass_type": "mapping",
    "tuple_type": "list",
}


class _Place(NamedTuple):
    """A key of a file, and the type that belongs there."""

    path: tuple[str | int, ...]
    kind: Any

    def __str__(self) -> str:
        return ".".join(str(part) for part in self.path) or "(top level)"


class Invalid(ValueError):
    """A value that is not of its type; `problems` has a line for each thing that is wrong."""

    def __init__(self, problems: list[str]):
        super().__init__("\n".join(problems))
        self.problems = problems


def validate(kind: type[T], value: object, where: str, below: tuple[str, ...] = ()) -> T:
    """`value` as a `kind`; Invalid if it is none.

    `kind` is a dataclass of checked settings; `where` says in the lines what was read, and `below`
    which keys of it hold the value. Nothing is converted: neither "3" nor 3.0 is an integer.
    """
    # As JSON the strict mode still takes a list for a tuple and a mapping for a dataclass.
    try:
        return TypeAdapter(kind).validate_json(json.dumps(value, default=str))
    except ValidationError as error:
        found = error.errors(include_url=False)
    unknown: dict[tuple, list[str]] = defaultdict(list)
    missing: dict[tuple, list[str]] = defaultdict(list)
    lines = []
    for problem in found:
        if problem["type"] == "unexpected_keyword_argument":
            unknown[problem["loc"][:-1]].append(str(problem["loc"][-1]))
        elif problem["type"] in ("missing", "missing_argument"):
            missing[problem["loc"][:-1]].append(str(problem["loc"][-1]))
        elif not _follows_from_others(problem):
            place = _place(kind, problem["loc"], below)
            lines.append((place, f"{where}: {place}{_complaint(problem)}"))
    for loc, names in unknown.items():
        place = _place(kind, loc, below)
        allowed = ", ".join(sorted(_hints(place.kind)))
        said = f"unknown key {', '.join(sorted(names))}; allowed: {allowed}"
        lines.append((place, f"{where}: {place}: {said}"))
    for loc, names in missing.items():
        place = _place(kind, loc, below)
        lines.append((place, f"{where}: {place}: missing {', '.join(sorted(names))}"))
    lines.sort(key=lambda line: ([str(part) for part in line[0].path], line[1]))
    raise Invalid(list(dict.fromkeys(text for _, text in lines)))


def _follows_from_others(problem: Any) -> bool:
    """Whether a list is only too short because pydantic counts the items that are right."""
    return problem["type"] == "too_short" and len(problem["input"]) >= problem["ctx"]["min_length"]


def _complaint(problem: Any) -> str:
    kind, context, value = problem["type"], problem.get("ctx", {}), problem["input"]
    if kind == "union_tag_not_found":
        return ": missing kind"
    if kind == "union_tag_invalid":
        allowed = context["expected_tags"].replace("'", "")
        return f".kind = {context['tag']!r}: allowed: {allowed}"
    if kind == "literal_error":
        allowed = context["expected"].replace(" or ", ", ").replace("'", "")
        return f" = {value!r}: allowed: {allowed}"
    if kind in _LIMITS:
        words, name = _LIMITS[kind]
        limit = context[name]
        limit = int(limit) if isinstance(limit, float) and limit == int(limit) else limit
        return f" = {value!r}: must be {words} {limit}"
    if kind in _TYPES:
        return f" = {value!r}: must be of type {_TYPES[kind]}"
    if kind == "finite_number":
        return f" = {value!r}: must be a finite number"
    if kind == "too_short":
        return f" = {value!r}: must have at least {context['min_length']} entry"
    if kind == "too_long":
        return f" = {value!r}: must have at most {context['max_length']} entry"
    if kind == "predicate_failed":
        return f" = {value!r}: names something twice; keep one of them"
    return f" = {value!r}: {problem['msg']}"


def _place(kind: Any, loc: tuple[str | int, ...], below: tuple[str, ...]) -> _Place:
    """Where pydantic's `loc` is in a file that holds a `kind`: its tags of unions are no keys."""
    path: list[str | int] = [*below]
    for part in loc:
        members = _members(kind)
        if len(members) > 1:
            kind = next((m for m in members if _tag(m) == part), kind)
            continue
        (kind,) = members
        if part == "[key]":
            continue
        path.append(part)
        if is_dataclass(kind):
            kind = _hints(kind, include_extras=True)[str(part)]
        elif get_args(kind):
            kind = get_args(kind)[0 if get_origin(kind) is tuple else 1]
    members = _members(kind)
    return _Place(tuple(path), members[0] if len(members) == 1 else kind)


def _members(kind: Any) -> list[Any]:
    """The types that a `kind` allows, but None; without what is annotated."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, UnionType):
        return [m for k in get_args(kind) if k is not type(None) for m in _members(k)]
    return [kind]


def _tag(kind: Any) -> str | None:
    """What `kind:` says in a file that holds this member of a union."""
    if not is_dataclass(kind) or "kind" not in {field.name for field in fields(kind)}:
        return None
    literal = _hints(kind)["kind"]
    return get_args(literal)[0] if get_origin(literal) is Literal else None
