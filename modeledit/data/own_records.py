"""Records of facts of one's own: the plain form that `make edit` reads (docs/own_facts.md).

A record has a prompt, its subject and the new object, and may have the old object, paraphrases and
neighbors. All that is wrong with a record is said at once, since these files are written by hand.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from modeledit.data.normalisation import Draft, NeighborDraft, normalised
from modeledit.data.records import RequestError, check_text, shown
from modeledit.data.requests import NO_TRUE_OBJECT, SLOT

NEEDED = ("prompt", "subject", "new_object")
OPTIONAL = ("old_object", "paraphrases", "neighbors", "neighbor_objects")
OF_NEIGHBOR = ("prompt", "subject", "object")  # where a neighbor is an object of its own
SEPARATOR = "|"  # between the texts of one cell


def own(record: dict[str, Any], position: int) -> Draft:
    """The draft of a record; its id is its `position`, from 0.

    Without an old object it has NO_TRUE_OBJECT. A neighbor without an object of its own has the
    record's old one, as in CounterFact (SPEC E.1); its subject is known where its prompt has the
    form of the record's. Raises RequestError, with all that is wrong.
    """
    reading = _Reading({name: value for name, value in record.items() if value is not None})
    prompt, subject, new = (reading.text(name) for name in NEEDED)
    old = reading.text("old_object") if "old_object" in reading.record else NO_TRUE_OBJECT
    paraphrases = reading.texts("paraphrases")
    neighbors = reading.neighbors(prompt, subject, "" if old == NO_TRUE_OBJECT else old)
    reading.unknown()
    draft = Draft(
        id=position,
        subject=subject,
        prompt=prompt,
        target_new=new,
        target_true=old,
        paraphrases=paraphrases,
        neighbors=neighbors,
        filled=True,
        names={"target_new": "new_object", "target_true": "old_object"},
    )
    if not reading.problems:
        return draft
    if prompt and subject and new:  # then what the texts themselves get wrong is said with it
        try:
            normalised(replace(draft, paraphrases=(), neighbors=()))
        except RequestError as error:
            reading.problems.append(str(error))
    raise RequestError("; ".join(reading.problems))


@dataclass
class _Reading:
    """A record without its empty fields, and what was found wrong with it so far."""

    record: dict[str, Any]
    problems: list[str] = field(default_factory=list)

    def unknown(self) -> None:
        """Note fields that nothing reads: a misspelt one would be left out without a word."""
        for name in sorted(self.record.keys() - {*NEEDED, *OPTIONAL}):
            fields = ", ".join((*NEEDED, *OPTIONAL))
            self.problems.append(
                f"field {shown(name)}: unknown; rename it to one of {fields}, or take it away"
            )

    def text(self, name: str) -> str:
        """The field `name`, which must be a text; "" where it is wrong."""
        if name not in self.record:
            self.problems.append(f"field '{name}': missing; add it or drop the record")
            return ""
        return self._checked(self.record[name], name)

    def texts(self, name: str) -> tuple[str, ...]:
        """The field `name`: a list of texts, or one text with `|` between them; or nothing."""
        return tuple(self._checked(part, where) for where, part in self._parts(name))

    def neighbors(self, prompt: str, subject: str, old: str) -> tuple[NeighborDraft, ...]:
        """The neighbors with their objects: `neighbor_objects` has one each, or `old` is theirs."""
        parts = self._parts("neighbors")
        objects: Sequence[str] = self.texts("neighbor_objects")
        if objects and len(objects) != len(parts):
            self.problems.append(
                f"field 'neighbor_objects': {len(objects)} entries for {len(parts)} in neighbors; "
                "give each neighbor its own"
            )
            return ()
        templates = _template(prompt, subject)
        found = []
        for number, (where, part) in enumerate(parts):
            target = objects[number] if objects else old
            if isinstance(part, dict):
                found.append(self._described(part, where, target))
                continue
            text = self._checked(part, where)
            self._check_object(target, where)
            found.append(NeighborDraft(target, where, text, *_of_form(templates, text)))
        return tuple(found)

    def _described(self, part: dict[str, Any], where: str, target: str) -> NeighborDraft:
        """A neighbor that is an object with a prompt and perhaps a subject and an object."""
        inner = _Reading({name: value for name, value in part.items() if value is not None})
        for name in sorted(inner.record.keys() - set(OF_NEIGHBOR)):
            self.problems.append(
                f"field '{where}.{name}': unknown; rename it to one of {', '.join(OF_NEIGHBOR)}, "
                "or take it away"
            )
        prompt = self._checked(inner.record.get("prompt"), f"{where}.prompt")
        subject, target = inner.record.get("subject"), inner.record.get("object", target)
        self._check_object(target, where)
        if subject is None:
            return NeighborDraft(target, where, text=prompt)
        subject = self._checked(subject, f"{where}.subject")
        template = prompt if SLOT in prompt else prompt.replace(subject, SLOT, 1)
        return NeighborDraft(target, where, prompt=template, subject=subject)

    def _parts(self, name: str) -> list[tuple[str, Any]]:
        """The entries of a field that may be a list, each with its place."""
        value = self.record.get(name, [])
        if isinstance(value, str):
            value = [part.strip() for part in value.split(SEPARATOR)]
        if not isinstance(value, list):
            self.problems.append(
                f"field '{name}': expected a list of texts, or one text with {SEPARATOR} between "
                f"them, got {shown(value)}; correct it"
            )
            return []
        return [(f"{name}[{number}]", part) for number, part in enumerate(value)]

    def _checked(self, value: Any, where: str) -> str:
        """A text as it is; "" where it is none, which is noted."""
        try:
            check_text(value, where)
        except RequestError as error:
            self.problems.append(str(error))
            return ""
        return str(value)

    def _check_object(self, target: Any, where: str) -> None:
        """Note a neighbor of which nobody says what should stay."""
        if not isinstance(target, str) or not target.strip():
            self.problems.append(
                f"field '{where}': its object is not known; give old_object, which neighbors share,"
                " or each its own in neighbor_objects"
            )


def _template(prompt: str, subject: str) -> str:
    """The prompt with `{}` for its subject; "" where that cannot be told."""
    if SLOT in prompt:
        return prompt
    return prompt.replace(subject, SLOT) if subject and prompt.count(subject) == 1 else ""


def _of_form(template: str, text: str) -> tuple[str | None, str | None]:
    """The template and the subject of a text that has the form of `template`; else None, None."""
    before, slot, after = template.partition(SLOT)
    found = slot and re.fullmatch(f"{re.escape(before)}(.+){re.escape(after)}", text)
    return (template, found[1]) if found else (None, None)
