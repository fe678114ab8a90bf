"""Probes: prompts that ask what an edit should change, or leave, beyond its own prompt.

An edit is one prompt and its new object o*. What it says about the world is more: facts that
follow from it change too, other facts about its subject stay (RippleEdits, arXiv:2307.12976;
MQuAKE, arXiv:2305.14795; KnowEdit, arXiv:2401.01286). A probe asks for one such fact by a prompt
to be continued. `geography_probes` makes them for the built-in requests, `probe_readers` reads
them from published files; everything after sees only `Probe`.

Their file has one probe a line as JSON.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modeledit.data.records import RequestError, check_text, field, located, shown, text_list
from modeledit.data.requests import MOST_PROMPTS, check_id
from modeledit.io.files import finished, read_json_lines

KINDS = {
    "two_hop": "a fact that follows from the edit and at least one other fact",
    "inverse": "the edited fact asked from its object's side, or what follows from it by logic",
    "alias": "the edited fact, its subject under another name",
    "subject": "another fact about the subject, which stays as it is",
    "negation": "the edited fact in the negative, which the new object would contradict",
}
"""What a probe asks for, by its kind."""


@dataclass(frozen=True)
class Probe:
    """One question about what the edit of `request` did.

    `prompt` is the full text, to be continued. `answers` are what should be said: the name first,
    then other names of the same; a negation has none, since too much else would be right.
    `forbidden` is what must not be said, o* of a negation. `before` is the answer before the edit
    where it is another one; None where it is the same or is not known.
    """

    request: int
    kind: str
    prompt: str
    answers: tuple[str, ...]
    forbidden: tuple[str, ...] = ()
    before: str | None = None

    def __post_init__(self) -> None:
        check_id(self.request, "request")
        if self.kind not in KINDS:
            raise RequestError(
                f"field 'kind': {shown(self.kind)} is none of {', '.join(KINDS)}; correct it or "
                "drop the record"
            )
        _check_edges(self.prompt, "prompt", front=False)
        for name in ("answers", "forbidden"):
            for i, text in enumerate(getattr(self, name)):
                _check_edges(text, f"{name}[{i}]")
        if self.before is not None:
            _check_edges(self.before, "before")
        self._check_sense()

    def _check_sense(self) -> None:
        """A probe that nothing could pass or fail would be measured without a word."""
        if self.kind == "negation" and (self.answers or not self.forbidden):
            raise RequestError(
                "field 'forbidden': a negation says in `forbidden` what must not follow, and has "
                f"no `answers`; got {shown(self.forbidden)} and {shown(self.answers)}"
            )
        if self.kind != "negation" and not self.answers:
            raise RequestError(
                f"field 'answers': empty, but a probe of kind {self.kind!r} needs at least one; "
                "add it or drop the record"
            )
        for name, texts in (("forbidden", self.forbidden), ("before", (self.before,))):
            both = next((text for text in texts if text in self.answers), None)
            if both is not None:
                raise RequestError(
                    f"field '{name}': {shown(both)} is also one of the answers; correct it or drop "
                    "the record"
                )


_FIELDS = ", ".join(Probe.__dataclass_fields__)


def write_probes(path: Path | str, probes: Iterable[Probe]) -> None:
    """Write one probe a line as JSON (UTF-8), under a temporary name that is then renamed.

    Raises RequestError when a request has more probes of one kind than scores can count.
    """
    path = Path(path)
    with finished(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        for number, (before, probe) in enumerate(counted(probes), start=1):
            if before >= MOST_PROMPTS:
                raise RequestError(
                    f"{path}, record {number}: request {probe.request} has more than "
                    f"{MOST_PROMPTS} probes of kind {probe.kind!r}; leave some out"
                )
            file.write(json.dumps(asdict(probe), ensure_ascii=False) + "\n")


def counted(probes: Iterable[Probe]) -> Iterator[tuple[int, Probe]]:
    """Each probe with its number among those of its request and kind, from 0."""
    numbers: Counter[tuple[int, str]] = Counter()
    for probe in probes:
        key = (probe.request, probe.kind)
        yield numbers[key], probe
        numbers[key] += 1


def read_probes(path: Path | str) -> list[Probe]:
    """Read what `write_probes` wrote, validating every line.

    Raises FileError on a file that is cut off or a line that is not JSON, and its RequestError,
    with file, record, field and value, on a missing, unknown or bad field.
    """
    path = Path(path)
    probes = []
    for number, record in enumerate(read_json_lines(path), start=1):
        with located(path, number):
            probes.append(_from_record(record))
    return probes


def _from_record(record: Any) -> Probe:
    if not isinstance(record, dict):
        raise RequestError(f"expected an object, got {shown(record)}")
    unknown = sorted(set(record) - set(Probe.__dataclass_fields__))
    if unknown:
        raise RequestError(f"unknown field {unknown[0]!r}; known: {_FIELDS}")
    if "before" not in record:
        raise RequestError("field 'before': missing; give it, or null")
    return Probe(
        request=field(record, "request", int),
        kind=field(record, "kind", str),
        prompt=field(record, "prompt", str),
        answers=text_list(record, "answers"),
        forbidden=text_list(record, "forbidden"),
        before=record["before"],
    )


def _check_edges(value: Any, name: str, front: bool = True) -> None:
    """An answer follows its prompt after one space: a blank of their own would be a second one."""
    check_text(value, name)
    if value != value.rstrip() or (front and value != value.lstrip()):
        raise RequestError(
            f"field '{name}': blanks at the {'edges' if front else 'end'} of {shown(value)}; take "
            "them away"
        )
