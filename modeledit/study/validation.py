"""Values of a file held against their types, with one line for each thing that is wrong.

pydantic does the checking; the lines name the place, the key, the value and what is allowed.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import date
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin
from typing import get_type_hints as _hints

from pydantic import TypeAdapter, ValidationError

from modeledit.study.masking import masked

T = TypeVar("T")

SHOWN = 80  # characters of a value in a line
_DEEPEST = 50  # lists and mappings inside each other
_MOST_VALUES = 100_000  # of a file; aliases of YAML can make many more of few lines
_LARGEST = 10**400  # no setting comes near it, and longer numbers are not even printed

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
        return ".".join(_named(part) for part in self.path) or "(top level)"


class Invalid(ValueError):
    """A value that is not of its type; `problems` has a line for each thing that is wrong."""

    def __init__(self, problems: list[str]):
        super().__init__("\n".join(problems))
        self.problems = problems


def validate(kind: type[T], value: object, where: str, below: tuple[str, ...] = ()) -> T:
    """`value` as a `kind`; Invalid if it is none.

    `kind` is a dataclass of checked settings; `where` says in the lines what was read, and `below`
    which keys of it hold the value. Nothing is converted: neither "3" nor 3.0 is an integer. Only
    what YAML takes for a date is a text again, as it is usual in names.
    """
    try:
        for count, _ in enumerate(_walk(value, below)):
            if count == _MOST_VALUES:
                raise _Unfit(below, f"more than {_MOST_VALUES} values; are aliases repeated?")
        plain = _as_json(value)
    except _Unfit as error:
        raise Invalid([f"{where}: {_Place(error.path, kind)}: {error.why}"]) from error
    # As JSON the strict mode still takes a list for a tuple and a mapping for a dataclass.
    try:
        return TypeAdapter(kind).validate_json(json.dumps(plain))
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
        said = f"unknown key {', '.join(map(_named, sorted(names)))}; allowed: {allowed}"
        lines.append((place, f"{where}: {place}: {said}"))
    for loc, names in missing.items():
        place = _place(kind, loc, below)
        lines.append((place, f"{where}: {place}: missing {', '.join(sorted(names))}"))
    lines.sort(key=lambda line: ([str(part) for part in line[0].path], line[1]))
    raise Invalid(list(dict.fromkeys(text for _, text in lines)))


class _Unfit(ValueError):
    """A value, or a key, that no setting has; and where."""

    def __init__(self, path: tuple[str | int, ...], why: str):
        super().__init__(why)
        self.path, self.why = path, why


def _walk(value: object, path: tuple[str | int, ...]) -> Iterator[object]:
    """All values in `value`, one by one. Raises _Unfit at the first that JSON could not say."""
    if len(path) > _DEEPEST:
        raise _Unfit(path[:5], f"lists or mappings inside each other more than {_DEEPEST} times")
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_key(key, path)
            yield from _walk(inner, (*path, key))
        texts = [str(key) for key in value]
        if len(set(texts)) < len(texts):
            twice = next(text for text in texts if texts.count(text) > 1)
            raise _Unfit(path, f"the key {twice} is there as a text and as a number; keep one")
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            yield from _walk(inner, (*path, i))
    elif isinstance(value, str):
        if not _is_unicode(value):
            raise _Unfit(path, f"half a character (a surrogate) in {_shown(value)}")
    elif isinstance(value, int | float):
        if isinstance(value, int) and abs(value) >= _LARGEST:
            raise _Unfit(path, "a number of more than 400 digits")
    elif value is not None and not isinstance(value, date):
        raise _Unfit(path, f"{_shown(value)} is a {type(value).__name__}, which no setting is")
    yield value


def _check_key(key: object, path: tuple[str | int, ...]) -> None:
    """Refuse a key that is no text, whole number or date."""
    if isinstance(key, bool) or key is None:
        raise _Unfit(
            path, f"the key {key} (YAML reads no, yes, on, off, true, null as such); quote it"
        )
    if isinstance(key, int) and abs(key) >= _LARGEST:
        raise _Unfit(path, "a key that is a number of more than 400 digits")
    if not isinstance(key, str | int | date):
        raise _Unfit(path, f"the key {_shown(key)} is a {type(key).__name__}; quote it")
    if isinstance(key, str) and not _is_unicode(key):
        raise _Unfit(path, f"half a character (a surrogate) in the key {_shown(key)}")


def _as_json(value: Any) -> Any:
    """`value`, which `_walk` has passed, with texts for its dates and keys."""
    if isinstance(value, dict):
        return {str(key): _as_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(inner) for inner in value]
    return str(value) if isinstance(value, date) else value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(value: object) -> str:
    text = masked(repr(value))
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _named(part: object) -> str:
    """A key as it stands in a line: quoted where it would not stay in one, and cut."""
    text = str(part)
    return text if text.isprintable() and len(text) <= SHOWN else _shown(text)


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
        return f" = {_shown(value)}: allowed: {allowed}"
    if kind in _LIMITS:
        words, name = _LIMITS[kind]
        limit = context[name]
        limit = int(limit) if isinstance(limit, float) and limit == int(limit) else limit
        return f" = {_shown(value)}: must be {words} {limit}"
    if kind in _TYPES:
        return f" = {_shown(value)}: must be of type {_TYPES[kind]}{_hint(kind, value)}"
    if kind == "finite_number":
        return f" = {_shown(value)}: must be a finite number"
    if kind == "too_short":
        return f" = {_shown(value)}: must have at least {context['min_length']} entry"
    if kind == "too_long":
        return f" = {_shown(value)}: must have at most {context['max_length']} entry"
    if kind == "predicate_failed":
        return f" = {_shown(value)}: names something twice; keep one of them"
    return f" = {_shown(value)}: {problem['msg']}"


def _hint(kind: str, value: object) -> str:
    """What to do about a text that YAML, or a number that a text's look, made something else of."""
    if kind == "string_type" and isinstance(value, bool):
        return "; quote it (YAML reads no, yes, on, off as booleans)"
    if kind == "string_type" and isinstance(value, int | float):
        return "; quote it"
    if kind in ("int_type", "float_type") and isinstance(value, str) and _is_number(value):
        return "; YAML takes it for a text: take quotes away, and write 1.0e+3 for 1e3"
    return ""


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


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
