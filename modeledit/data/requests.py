"""Requests for edits: the two record types, the file format, and readers of the published data.

A request is one desired edit: a prompt template with one `{}` for the subject, the new object o*,
the old object o, paraphrases, and neighbors (other subjects with the same object, which an edit
must leave alone). Everything after this module sees only `Request`; what CounterFact, zsRE and the
neighbor-eligible files look like on disk is known here and nowhere else (SPEC E).

Every reader validates. An error names the file, the number of the record (from 1), the field and
the value, because the files hold thousands of records and are large for an editor.

Templates are filled by `str.replace`, never by `str.format`: some prompts contain braces of their
own (SPEC E.1).
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modeledit.data.records import (
    RequestError,
    check_characters,
    check_text,
    field,
    located,
    shown,
    text_list,
)
from modeledit.io.files import finished, read_json_lines

SLOT = "{}"
LARGEST_ID = 2**63 - 1
MOST_PROMPTS = 2**15
"""Of a kind that a request may have: scores count them in 16 bits, ids in 64."""
NO_TRUE_OBJECT = "<|endoftext|>"
"""Stands for o in zsRE, which has no old object (SPEC E.2)."""


@dataclass(frozen=True)
class Neighbor:
    """A prompt about another subject whose object an edit must not change.

    `prompt` is a template with one `{}` when `subject` is known, else the full text.
    `target` is the neighbor's own ground truth o; a piece of a zsRE answer may be a bare space, or
    empty with some tokenizers (SPEC A.4, E.2), so any string is allowed.
    """

    prompt: str
    subject: str | None
    target: str

    def __post_init__(self) -> None:
        check_text(self.prompt, "prompt")
        if not isinstance(self.target, str):
            raise RequestError(f"field 'target': expected text, got {shown(self.target)}")
        check_characters(self.target, "target")
        if self.subject is not None:
            check_text(self.subject, "subject")
            _check_template(self.prompt, "prompt")

    @property
    def text(self) -> str:
        """The full prompt."""
        return self.prompt if self.subject is None else fill(self.prompt, self.subject)


@dataclass(frozen=True)
class Request:
    """One desired edit (SPEC A.1): make `target_new` follow the prompt instead of `target_true`.

    `neighbors` are for evaluation. `editing_neighbors` take part in neighbor-assisted editing
    (SPEC D) and are empty otherwise.
    """

    id: int
    subject: str
    prompt: str
    target_new: str
    target_true: str
    paraphrases: tuple[str, ...] = ()
    neighbors: tuple[Neighbor, ...] = ()
    editing_neighbors: tuple[Neighbor, ...] = ()
    relation: str = ""

    def __post_init__(self) -> None:
        check_id(self.id, "id")
        for name in ("subject", "prompt", "target_new", "target_true"):
            check_text(getattr(self, name), name)
        _check_template(self.prompt, "prompt")
        # The edit is placed at the subject's last token, so there may be only one subject
        # (SPEC A.5, I28).
        occurrences = self.text.count(self.subject)
        if occurrences != 1:
            raise RequestError(
                f"field 'prompt': the subject {shown(self.subject)} must occur exactly once in "
                f"the prompt, found {occurrences} times in {shown(self.text)}; drop the record "
                "or reword the prompt"
            )
        for i, paraphrase in enumerate(self.paraphrases):
            check_text(paraphrase, f"paraphrases[{i}]")
        for name in ("paraphrases", "neighbors"):
            if len(getattr(self, name)) > MOST_PROMPTS:
                raise RequestError(
                    f"field '{name}': {len(getattr(self, name))} entries, at most {MOST_PROMPTS} "
                    "can be scored; leave some out"
                )
        if not isinstance(self.relation, str):
            raise RequestError(f"field 'relation': expected text, got {shown(self.relation)}")
        check_characters(self.relation, "relation")

    @property
    def text(self) -> str:
        """The full prompt."""
        return fill(self.prompt, self.subject)

    @property
    def change(self) -> str:
        """What is edited, for a heading: the subject, and the old object before the new one."""
        arrow = "" if self.target_true == NO_TRUE_OBJECT else f"{self.target_true} → "
        return f"{self.subject}: {arrow}{self.target_new}"


def check_id(value: Any, name: str) -> None:
    """Raise RequestError unless the value of field `name` is a whole number of 63 bits."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not 0 <= value <= LARGEST_ID:
        raise RequestError(
            f"field '{name}': expected a whole number from 0 to {LARGEST_ID}, got {shown(value)}"
        )


def fill(template: str, subject: str) -> str:
    """Put `subject` in place of the first `{}`; other braces are left as they are."""
    return template.replace(SLOT, subject, 1)


def write_requests(path: Path | str, requests: Iterable[Request]) -> None:
    """Write one request a line as JSON (UTF-8), under a temporary name that is then renamed.

    Raises `RequestError` when two requests have the same id.
    """
    path = Path(path)
    seen: set[int] = set()
    with finished(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        for number, request in enumerate(requests, start=1):
            if request.id in seen:
                raise RequestError(f"{path}, record {number}: id {request.id} occurs twice")
            seen.add(request.id)
            file.write(json.dumps(asdict(request), ensure_ascii=False) + "\n")


def read_requests(path: Path | str) -> list[Request]:
    """Read what `write_requests` wrote, validating every line.

    Raises `FileError` on a file that is cut off or a line that is not JSON, and its `RequestError`
    on a missing, unknown or bad field, or an id that occurs twice.
    """
    path = Path(path)
    requests = []
    seen: set[int] = set()
    for number, record in enumerate(read_json_lines(path), start=1):
        with located(path, number):
            request = _request_from_record(record)
            if request.id in seen:
                raise RequestError(f"field 'id': {request.id} occurs twice")
            seen.add(request.id)
            requests.append(request)
    return requests


def _request_from_record(record: Any) -> Request:
    if not isinstance(record, dict):
        raise RequestError(f"expected an object, got {shown(record)}")
    unknown = sorted(set(record) - set(Request.__dataclass_fields__))
    if unknown:
        raise RequestError(f"unknown field {unknown[0]!r}; known: {_FIELDS}")
    neighbors = {
        name: tuple(
            _neighbor_from_record(entry, f"{name}[{j}]")
            for j, entry in enumerate(field(record, name, list))
        )
        for name in ("neighbors", "editing_neighbors")
    }
    return Request(
        id=field(record, "id", int),
        subject=field(record, "subject", str),
        prompt=field(record, "prompt", str),
        target_new=field(record, "target_new", str),
        target_true=field(record, "target_true", str),
        paraphrases=text_list(record, "paraphrases"),
        relation=field(record, "relation", str),
        **neighbors,
    )


_FIELDS = ", ".join(Request.__dataclass_fields__)


def _neighbor_from_record(record: Any, where: str) -> Neighbor:
    if not isinstance(record, dict):
        raise RequestError(f"field '{where}': expected an object, got {shown(record)}")
    subject = record.get("subject")
    if subject is not None and not isinstance(subject, str):
        raise RequestError(f"field '{where}.subject': expected text or null, got {shown(subject)}")
    prompt = field(record, "prompt", str, f"{where}.")
    target = field(record, "target", str, f"{where}.")
    try:
        return Neighbor(prompt=prompt, subject=subject, target=target)
    except RequestError as error:
        raise RequestError(f"in {where}: {error}") from error


def _check_template(prompt: str, name: str) -> None:
    count = prompt.count(SLOT)
    if count != 1:
        raise RequestError(
            f"field '{name}': expected exactly one '{SLOT}' for the subject, found {count} in "
            f"{shown(prompt)}"
        )
