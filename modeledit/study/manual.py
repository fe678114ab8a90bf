"""The tables of keys and switches in docs/configuration.md, written from the types that check them.

`python -m modeledit.study.manual` writes them anew; a test says when they are stale.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml
from annotated_types import Ge, Gt, Le, Lt

from modeledit.study.checked import Doc
from modeledit.study.settings import Configuration, Preset
from modeledit.study.switches import Switches

ROOT = Path(__file__).parents[2]
MANUAL = ROOT / "docs" / "configuration.md"
_SIGNS = {Ge: ("ge", ">="), Gt: ("gt", ">"), Le: ("le", "<="), Lt: ("lt", "<")}


def _unwrapped(kind: Any) -> tuple[Any, list[Any]]:
    """A type and all its marks; None as an alternative is left out."""
    marks: list[Any] = []
    while True:
        if get_origin(kind) is Annotated:
            kind, *found = get_args(kind)
            marks += found
        elif get_origin(kind) is not None and type(None) in get_args(kind):
            (kind,) = (k for k in get_args(kind) if k is not type(None))
        else:
            return kind, marks


def _allowed(kind: Any, marks: list[Any]) -> str:
    """What the type and its marks allow, in a few words."""
    parts = []
    if get_origin(kind) is UnionType or get_origin(kind) is Union:
        parts.append(" or ".join(_allowed(*_unwrapped(one)) for one in get_args(kind)))
    if get_origin(kind) is Literal:
        parts.append(", ".join(f"`{value}`" for value in get_args(kind)))
    elif kind is bool:
        parts.append("`true`, `false`")
    limits = [
        f"{sign} {getattr(mark, name):g}"
        for mark in marks
        for name, sign in [_SIGNS.get(type(mark), ("", ""))]
        if sign and getattr(mark, name) < 10**6
    ]
    parts += [", ".join(limits)] if limits else []
    parts += [mark.allowed for mark in marks if isinstance(mark, Doc) and mark.allowed]
    return "; ".join(parts)


def _keys(kind: Any, before: str = "") -> Iterator[tuple[str, str, str]]:
    """(key, meaning, allowed) of all keys of a block and of the blocks in it."""
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        inner, marks = _unwrapped(hints[field.name])
        key = f"{before}{field.name}"
        said = [mark.meaning for mark in marks if isinstance(mark, Doc)]
        if get_origin(inner) is dict:
            values = get_args(inner)[1]
            if is_dataclass(values):
                yield from _keys(values, f"{key}.{{name}}.")
                continue
            key += ".{model}" if values in (str, int) else ""
        elif get_origin(inner) is tuple and is_dataclass(get_args(inner)[0]):
            yield from _keys(get_args(inner)[0], f"{key}[].")
            continue
        elif is_dataclass(inner):
            yield from _keys(inner, f"{key}.")
            continue
        yield f"`{key}`", said[0] if said else "", _allowed(inner, marks)


def key_table() -> str:
    """Every key of the configuration: what it means, what is allowed."""
    return table(("key", "meaning", "allowed"), _keys(Configuration))


def switch_table() -> str:
    """Every switch, with what the presets choose, in the order of config/presets.yaml."""
    presets = yaml.safe_load((ROOT / "config" / "presets.yaml").read_text(encoding="utf-8"))
    names: tuple[Preset, ...] = get_args(Preset)
    hints = get_type_hints(Switches, include_extras=True)
    rows = []
    for switch in presets[names[0]]:
        kind, marks = _unwrapped(hints[switch])
        (doc,) = (mark for mark in marks if isinstance(mark, Doc))
        chosen = [_said(presets[name][switch]) for name in names]
        others = [
            f"`{value}`"
            for value in (get_args(kind) if get_origin(kind) is Literal else ())
            if value not in {presets[name][switch] for name in names}
        ]
        rows.append((f"`{switch}`", *chosen, ", ".join(others), doc.meaning))
    return table(("switch", *(f"`{name}`" for name in names), "or", "what it decides"), rows)


def _said(value: object) -> str:
    return "none" if value is None else f"`{yaml.safe_dump(value).splitlines()[0]}`"


def table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [header, ("---",) * len(header), *rows]
    escaped = ([cell.replace("|", "\\|") for cell in row] for row in lines)
    return "\n".join("| " + " | ".join(row) + " |" for row in escaped)


def between(text: str, start: str, end: str, new: str, page: Path) -> str:
    """The text of a `page` with `new` between its comments `start` and "end of" `end`.

    Raises ValueError naming the page where these marks are missing.
    """
    first, last = f"<!-- {start} -->", f"<!-- end of {end} -->"
    pattern = re.compile(f"{re.escape(first)}.*?{re.escape(last)}", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"{page}: the marks of the table of {end} are missing; put back {first}")
    before, after = pattern.split(text)
    return f"{before}{first}\n{new}\n{last}{after}"


def written(text: str) -> str:
    """`text` with both tables in their places, as they should be now."""
    for name, rows in (("keys", key_table()), ("switches", switch_table())):
        text = between(text, f"{name}: python -m modeledit.study.manual", name, rows, MANUAL)
    return text


if __name__ == "__main__":
    MANUAL.write_text(written(MANUAL.read_text(encoding="utf-8")), encoding="utf-8")
