"""Probes from files: MQuAKE, RippleEdits, KnowEdit, and JSON lines of one's own.

Such a file names edits of its own, not requests. What it asks is a `FileProbe` until `attach`
finds the requests whose subject and new object are the very same texts.

What their kinds become:

| file | their name | kind |
|---|---|---|
| MQuAKE (arXiv:2305.14795) | `questions`, over two to four facts | two_hop |
| RippleEdits (arXiv:2307.12976) | Compositionality_I, Compositionality_II | two_hop |
| | Logical_Generalization | inverse |
| | Subject_Aliasing | alias |
| | Relation_Specificity, Forgetfulness | subject |
| KnowEdit (arXiv:2401.01286) | Reasoning | two_hop |
| | Logical_Generalization | inverse |
| | Subject_Aliasing | alias |
| | Relation_Specificity, Forgetfulness | subject |

A question becomes a prompt as it stands: the model continues behind its question mark. Blanks
around prompts and answers are taken away. Where a file lists several answers any of them counts;
a question without any is left out, since nothing could be measured. The files' conditions (what
the unedited model has to know) are not applied: the unedited model's own row says what it knew.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeledit.data.probes import Probe
from modeledit.data.problems import Problem, message, object_of
from modeledit.data.record_files import many_objects, read_entries
from modeledit.data.records import RequestError, check_text, field, shown, text_list
from modeledit.data.requests import Request
from modeledit.data.writing import separator

_CATEGORIES = {
    "Reasoning": "two_hop",
    "Compositionality_I": "two_hop",
    "Compositionality_II": "two_hop",
    "Logical_Generalization": "inverse",
    "Subject_Aliasing": "alias",
    "Relation_Specificity": "subject",
    "Forgetfulness": "subject",
}
_OWN_FIELDS = ("subject", "target_new", "kind", "prompt", "answers", "forbidden", "before")


@dataclass(frozen=True)
class Edit:
    """An edit as most files name it."""

    subject: str
    target_new: str

    def __post_init__(self) -> None:
        for name in ("subject", "target_new"):
            check_text(getattr(self, name), name)


@dataclass(frozen=True)
class Statement:
    """An edit as RippleEdits names it: its prompt and new object, a sentence without full stop."""

    text: str


@dataclass(frozen=True)
class FileProbe:
    """A probe of a file: as `Probe`, but of edits that it names itself.

    All of `edits` have to be made for the answers to be right; in MQuAKE they may be several.
    """

    edits: tuple[Edit | Statement, ...]
    kind: str
    prompt: str
    answers: tuple[str, ...]
    forbidden: tuple[str, ...] = ()
    before: str | None = None

    def __post_init__(self) -> None:
        self.of(0)

    def of(self, request: int) -> Probe:
        """The probe of the request with this id. Raises RequestError on a bad field."""
        return Probe(request, self.kind, self.prompt, self.answers, self.forbidden, self.before)


@dataclass(frozen=True)
class Attached:
    """The probes of requests, in the requests' order, and what became of a file's probes.

    `requests` have at least one probe. `unmatched` probes are about edits that are not requested,
    or not all of them; `ambiguous` ones about an edit that several requests share.
    """

    probes: list[Probe]
    requests: int
    unmatched: int
    ambiguous: int

    def line(self) -> str:
        """What a log should say."""
        return (
            f"{len(self.probes)} probes of {self.requests} requests; of the file's, "
            f"{self.unmatched} are about other edits and {self.ambiguous} about an edit that "
            "several requests share"
        )


def read_mquake(path: Path | str) -> list[FileProbe]:
    """Read the multi-hop questions of MQuAKE (MQuAKE-CF-3k-v2 and others of its form).

    One probe for each of a record's `questions`, which rests on all of its edits. Its single hops
    are not asked. Raises RequestError with every bad record (the first ten by name).
    """
    return _read(path, _mquake)


def read_ripple_edits(path: Path | str) -> list[FileProbe]:
    """Read the test queries of RippleEdits, its six criteria.

    An edit is named there by a sentence alone ("… is Syria."), so it is matched as a whole.
    Raises RequestError as `read_mquake` does.
    """
    return _read(path, _ripple_edits)


def read_knowedit(path: Path | str) -> list[FileProbe]:
    """Read portability and locality of KnowEdit, whose facts are WikiData_counterfact and others.

    Raises RequestError as `read_mquake` does.
    """
    return _read(path, _knowedit)


def read_own(path: Path | str) -> list[FileProbe]:
    """Read one probe a record, as `probes.read_probes` but with `subject` and `target_new`.

    `answers`, `forbidden` and `before` may be left out. Raises RequestError as `read_mquake` does.
    """
    return _read(path, _own)


FORMATS: dict[str, Callable[[Path | str], list[FileProbe]]] = {
    "mquake": read_mquake,
    "ripple_edits": read_ripple_edits,
    "knowedit": read_knowedit,
    "own": read_own,
}
"""What reads a file of probes, by its format."""


def attach(path: Path | str, probes: Iterable[FileProbe], requests: Sequence[Request]) -> Attached:
    """Give the probes of the file `path` to the requests whose edits they are about.

    Texts have to agree to the letter. A probe of several edits needs all of them among the
    requests and belongs to the first one's. The same probe is given to a request once. Raises
    RequestError, naming `path`, where no probe is about any of the requests.
    """
    made = _by_edit(requests)
    given: dict[int, dict[Probe, None]] = {request.id: {} for request in requests}
    unmatched = ambiguous = 0
    for probe in probes:
        found = [made.get(edit, []) for edit in probe.edits]
        if not all(found):
            unmatched += 1
        elif any(len(same) > 1 for same in found):
            ambiguous += 1
        else:
            given[found[0][0]][probe.of(found[0][0])] = None
    asked = [probe for of_one in given.values() for probe in of_one]
    if not asked:
        raise RequestError(_no_match(path, requests, unmatched, ambiguous))
    return Attached(asked, sum(map(bool, given.values())), unmatched, ambiguous)


def _by_edit(requests: Sequence[Request]) -> dict[Edit | Statement, list[int]]:
    """The ids of the requests that make an edit, by either of its names."""
    made: dict[Edit | Statement, list[int]] = defaultdict(list)
    for request in requests:
        text = request.text
        space = separator(text, request.target_new)
        made[Edit(request.subject, request.target_new)].append(request.id)
        made[Statement(f"{text}{space}{request.target_new}")].append(request.id)
    return dict(made)


def _no_match(path: Path | str, requests: Sequence[Request], unmatched: int, ambiguous: int) -> str:
    example = (
        f", as {shown(requests[0].subject)} and {shown(requests[0].target_new)}" if requests else ""
    )
    return (
        f"{path}: none of its {unmatched + ambiguous} probes is about one edit of the "
        f"{len(requests)} requests ({ambiguous} are about an edit that several share); subject and "
        f"new object have to be the same texts{example}: give the probes of this dataset, make the "
        "dataset of the file's edits, or set the probes' path to null"
    )


# --- records of one format ---------------------------------------------------------------------


@many_objects()
def _read(
    path: Path | str, parse: Callable[[dict[str, Any]], Iterator[FileProbe]]
) -> list[FileProbe]:
    path = Path(path)
    entries = read_entries(path)
    probes: list[FileProbe] = []
    problems: list[Problem] = []
    for entry in entries:
        try:
            probes += parse(object_of(entry))
        except RequestError as error:
            problems.append(Problem(entry.place, "", str(error)))
    if problems:
        raise RequestError(message(path, problems, len(entries)))
    if not probes:
        raise RequestError(f"{path}: no probe in its {len(entries)} records; give another file")
    return probes


def _mquake(record: dict[str, Any]) -> Iterator[FileProbe]:
    rewrites = field(record, "requested_rewrite", list)
    if not rewrites:
        raise RequestError("field 'requested_rewrite': empty list; add an edit or drop the record")
    edits = tuple(_rewrite(one, f"requested_rewrite[{i}]") for i, one in enumerate(rewrites))
    questions = text_list(record, "questions")
    answers = _answers(
        [field(record, "new_answer", str), record.get("new_answer_alias") or []], "new_answer_alias"
    )
    before = field(record, "answer", str).strip()
    old = before if before and before not in answers else None
    for i, question in enumerate(questions):
        yield from _asked(edits, "two_hop", question, answers, f"questions[{i}]", old)


def _rewrite(value: Any, where: str) -> Edit:
    new = field(_object(value, where), "target_new", dict, f"{where}.")
    return Edit(
        field(value, "subject", str, f"{where}."), field(new, "str", str, f"{where}.target_new.")
    )


def _ripple_edits(record: dict[str, Any]) -> Iterator[FileProbe]:
    edit = field(record, "edit", dict)
    text = field(edit, "prompt", str, "edit.")
    check_text(text, "edit.prompt")
    edits = (Statement(text.strip().removesuffix(".")),)
    # The paper's own page spells one of the criteria otherwise than its files do.
    criteria = {**_CATEGORIES, "Relation_Specifity": "subject"}
    for name in [name for name in record if name in criteria]:
        for i, test in enumerate(field(record, name, list)):
            where = f"{name}[{i}]"
            queries = field(_object(test, where), "test_queries", list, f"{where}.")
            for j, query in enumerate(queries):
                at = f"{where}.test_queries[{j}]"
                values = field(_object(query, at), "answers", list, f"{at}.")
                answers = _answers(
                    [_named(value, f"{at}.answers[{n}]") for n, value in enumerate(values)],
                    f"{at}.answers",
                )
                prompt = field(query, "prompt", str, f"{at}.")
                yield from _asked(edits, criteria[name], prompt, answers, f"{at}.prompt")


def _named(value: Any, where: str) -> list[Any]:
    """An answer of RippleEdits: what it is called, and its aliases."""
    return [
        field(_object(value, where), "value", str, f"{where}."),
        field(value, "aliases", list, f"{where}.") if "aliases" in value else [],
    ]


def _knowedit(record: dict[str, Any]) -> Iterator[FileProbe]:
    edits = (Edit(field(record, "subject", str), field(record, "target_new", str)),)
    true = _answers(record.get("ground_truth") or [], "ground_truth")
    for part in ("portability", "locality"):
        asked = _object(record.get(part) or {}, part)
        for name, tests in asked.items():
            where = f"{part}.{name}"
            if name not in _CATEGORIES:
                known = ", ".join(_CATEGORIES)
                raise RequestError(f"field '{where}': not known here; known are {known}")
            if not isinstance(tests, list):
                raise RequestError(f"field '{where}': expected a list, got {shown(tests)}")
            for i, test in enumerate(tests):
                at = f"{where}[{i}]"
                prompt = field(_object(test, at), "prompt", str, f"{at}.")
                if "ground_truth" not in test:
                    raise RequestError(f"field '{at}.ground_truth': missing; add it")
                answers = _answers(test["ground_truth"], f"{at}.ground_truth")
                kind = _CATEGORIES[name]
                # Under another name it is the edited fact, whose old object the record has.
                old = next((t for t in true if t not in answers), None) if kind == "alias" else None
                yield from _asked(edits, kind, prompt, answers, f"{at}.prompt", old)


def _own(record: dict[str, Any]) -> Iterator[FileProbe]:
    unknown = sorted(set(record) - set(_OWN_FIELDS))
    if unknown:
        raise RequestError(f"unknown field {unknown[0]!r}; known: {', '.join(_OWN_FIELDS)}")
    yield FileProbe(
        (Edit(field(record, "subject", str), field(record, "target_new", str)),),
        field(record, "kind", str),
        field(record, "prompt", str),
        text_list(record, "answers") if "answers" in record else (),
        text_list(record, "forbidden") if "forbidden" in record else (),
        record.get("before"),
    )


def _asked(
    edits: tuple[Edit | Statement, ...],
    kind: str,
    prompt: str,
    answers: tuple[str, ...],
    where: str,
    before: str | None = None,
) -> Iterator[FileProbe]:
    check_text(prompt, where)
    if answers:
        yield FileProbe(edits, kind, prompt.strip(), answers, before=before)


def _answers(value: Any, where: str) -> tuple[str, ...]:
    """The texts of a text or of lists in each other, each once; empty ones say nothing."""
    found: dict[str, None] = {}
    waiting = [value]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, list):
            waiting = [*one, *waiting]
        elif not isinstance(one, str):
            raise RequestError(f"field '{where}': expected texts, got {shown(one)}; correct it")
        elif one.strip():
            check_text(one, where)
            found[one.strip()] = None
    return tuple(found)


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RequestError(f"field '{where}': expected an object, got {shown(value)}; correct it")
    return value
