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
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modeledit.files import finished

SLOT = "{}"
NO_TRUE_OBJECT = "<|endoftext|>"
"""Stands for o in zsRE, which has no old object (SPEC E.2)."""

_SHOWN = 80


class RequestError(ValueError):
    """A record that cannot be a request; the message says where and why."""


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
        _check_text(self.prompt, "prompt")
        if not isinstance(self.target, str):
            raise RequestError(f"field 'target': expected text, got {_show(self.target)}")
        if self.subject is not None:
            _check_text(self.subject, "subject")
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
        if not isinstance(self.id, int) or isinstance(self.id, bool) or self.id < 0:
            raise RequestError(f"field 'id': expected a whole number >= 0, got {self.id!r}")
        for name in ("subject", "prompt", "target_new", "target_true"):
            _check_text(getattr(self, name), name)
        _check_template(self.prompt, "prompt")
        # The edit is placed at the subject's last token, so there may be only one subject
        # (SPEC A.5, I28).
        occurrences = self.text.count(self.subject)
        if occurrences != 1:
            raise RequestError(
                f"field 'prompt': the subject {_show(self.subject)} must occur exactly once in "
                f"the prompt, found {occurrences} times in {_show(self.text)}; drop the record "
                "or reword the prompt"
            )
        for i, paraphrase in enumerate(self.paraphrases):
            _check_text(paraphrase, f"paraphrases[{i}]")
        if not isinstance(self.relation, str):
            raise RequestError(f"field 'relation': expected text, got {_show(self.relation)}")

    @property
    def text(self) -> str:
        """The full prompt."""
        return fill(self.prompt, self.subject)


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

    Raises `RequestError` on a line that is not JSON, a missing, unknown or bad field, or an id
    that occurs twice.
    """
    path = Path(path)
    requests = []
    seen: set[int] = set()
    with path.open(encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            with _located(path, number):
                try:
                    record = json.loads(line)
                except json.JSONDecodeError as error:
                    raise RequestError(f"not JSON: {error}; line starts {_show(line)}") from error
                request = _request_from_record(record)
                if request.id in seen:
                    raise RequestError(f"field 'id': {request.id} occurs twice")
                seen.add(request.id)
                requests.append(request)
    return requests


def read_counterfact(path: Path | str) -> list[Request]:
    """Read CounterFact records (SPEC E.1), with or without `neighborhood_samples`.

    A neighbor gets its subject and template from `neighborhood_samples[j]` where that fills to
    `neighborhood_prompts[j]`; otherwise its text is kept whole, without a subject. Attribute and
    generation prompts are not used.
    """
    path = Path(path)
    requests = []
    for number, record in _records(path):
        with _located(path, number):
            rewrite = _get(record, "requested_rewrite", dict)
            at = "requested_rewrite."
            true = _get(_get(rewrite, "target_true", dict, at), "str", str, f"{at}target_true.")
            new = _get(_get(rewrite, "target_new", dict, at), "str", str, f"{at}target_new.")
            texts = _texts(record, "neighborhood_prompts")
            samples: list[Any] = [None] * len(texts)
            if "neighborhood_samples" in record:
                samples = _get(record, "neighborhood_samples", list)
                if len(samples) != len(texts):
                    raise RequestError(
                        f"field 'neighborhood_samples': {len(samples)} entries for "
                        f"{len(texts)} neighborhood_prompts"
                    )
            requests.append(
                Request(
                    id=_get(record, "case_id", int),
                    subject=_get(rewrite, "subject", str, at),
                    prompt=_get(rewrite, "prompt", str, at),
                    target_new=new,
                    target_true=true,
                    paraphrases=_texts(record, "paraphrase_prompts"),
                    neighbors=tuple(
                        _neighbor(text, sample, true, f"neighborhood_samples[{j}]")
                        for j, (text, sample) in enumerate(zip(texts, samples, strict=True))
                    ),
                    relation=rewrite.get("relation_id", ""),
                )
            )
    return _unique(path, requests)


def read_eligible(path: Path | str) -> list[Request]:
    """Read a file of neighbor-eligible records (SPEC D.2, D.3).

    `neighborhood_samples` become the editing neighbors, `locality.neighborhood` the evaluation
    neighbors. The prompt is stored filled, so the template is recovered from the subject, which
    must occur in it exactly once.
    """
    path = Path(path)
    requests = []
    for number, record in _records(path):
        with _located(path, number):
            subject = _get(record, "subject", str)
            text = _get(record, "prompt", str)
            true = _get(record, "ground_truth", str)
            locality = _get(record, "locality", dict)
            neighborhood = _get(locality, "neighborhood", dict, "locality.")
            at = "locality.neighborhood."
            texts = _texts(neighborhood, "prompt", at)
            truths = _texts(neighborhood, "ground_truth", at)
            if len(texts) != len(truths):
                raise RequestError(
                    f"field '{at}ground_truth': {len(truths)} entries for {len(texts)} prompts"
                )
            editing = []
            for j, sample in enumerate(_get(record, "neighborhood_samples", list)):
                where = f"neighborhood_samples[{j}]"
                editing.append(_sample_neighbor(sample, true, where))
            requests.append(
                Request(
                    id=_get(record, "case_id", int),
                    subject=subject,
                    prompt=_template(text, subject),
                    target_new=_get(record, "target_new", str),
                    target_true=true,
                    paraphrases=_texts(record, "rephrase_prompt"),
                    neighbors=tuple(
                        Neighbor(prompt=prompt, subject=None, target=truth)
                        for prompt, truth in zip(texts, truths, strict=True)
                    ),
                    editing_neighbors=tuple(editing),
                )
            )
    return _unique(path, requests)


def read_zsre(path: Path | str) -> list[Request]:
    """Read zsRE records (SPEC E.2).

    The edit prompt is the question, o* the first answer, o the string `<|endoftext|>`, and the one
    neighbor asks `loc` + "?" for `loc_ans`. Ids are positions in the file, since records carry
    none.
    """
    path = Path(path)
    requests = []
    for number, record in _records(path):
        with _located(path, number):
            subject = _get(record, "subject", str)
            answers = _texts(record, "answers")
            if not answers:
                raise RequestError("field 'answers': empty list; o* is its first entry")
            answer = _get(record, "loc_ans", str)
            _check_text(answer, "loc_ans")
            locality = Neighbor(
                prompt=_get(record, "loc", str) + "?",
                subject=None,
                target=answer,
            )
            requests.append(
                Request(
                    id=number - 1,
                    subject=subject,
                    prompt=_template(_get(record, "src", str), subject, "src"),
                    target_new=answers[0],
                    target_true=NO_TRUE_OBJECT,
                    paraphrases=(_get(record, "rephrase", str),),
                    neighbors=(locality,),
                )
            )
    return requests


def read_me_ppl(path: Path | str) -> list[str]:
    """Read the utterances of ME-PPL-50 as they are: leading spaces count (SPEC E.3)."""
    path = Path(path)
    texts = []
    for number, record in _records(path):
        with _located(path, number):
            text = _get(record, "Text", str)
            _check_text(text, "Text")
            texts.append(text)
    return texts


def _neighbor(text: str, sample: Any, target: str, where: str) -> Neighbor:
    """The neighbor with its subject when `sample` fills to exactly `text`, else `text` whole."""
    if sample is not None:
        neighbor = _sample_neighbor(sample, target, where)
        if neighbor.text == text:
            return neighbor
    return Neighbor(prompt=text, subject=None, target=target)


def _sample_neighbor(sample: Any, target: str, where: str) -> Neighbor:
    if not isinstance(sample, dict):
        raise RequestError(f"field '{where}': expected an object, got {_show(sample)}")
    prompt = _get(sample, "prompt", str, f"{where}.")
    subject = _get(sample, "subject", str, f"{where}.")
    try:
        return Neighbor(prompt=prompt, subject=subject, target=target)
    except RequestError as error:
        raise RequestError(f"in {where}: {error}") from error


def _template(text: str, subject: str, name: str = "prompt") -> str:
    """Recover the template from a filled prompt; the subject must occur exactly once (I28)."""
    _check_text(subject, "subject")
    occurrences = text.count(subject)
    if occurrences != 1:
        raise RequestError(
            f"field '{name}': the subject {_show(subject)} must occur exactly once, found "
            f"{occurrences} times in {_show(text)}"
        )
    return text.replace(subject, SLOT)


def _request_from_record(record: Any) -> Request:
    if not isinstance(record, dict):
        raise RequestError(f"expected an object, got {_show(record)}")
    unknown = sorted(set(record) - set(Request.__dataclass_fields__))
    if unknown:
        raise RequestError(f"unknown field {unknown[0]!r}; known: {_FIELDS}")
    neighbors = {
        name: tuple(
            _neighbor_from_record(entry, f"{name}[{j}]")
            for j, entry in enumerate(_get(record, name, list))
        )
        for name in ("neighbors", "editing_neighbors")
    }
    return Request(
        id=_get(record, "id", int),
        subject=_get(record, "subject", str),
        prompt=_get(record, "prompt", str),
        target_new=_get(record, "target_new", str),
        target_true=_get(record, "target_true", str),
        paraphrases=_texts(record, "paraphrases"),
        relation=_get(record, "relation", str),
        **neighbors,
    )


_FIELDS = ", ".join(Request.__dataclass_fields__)


def _neighbor_from_record(record: Any, where: str) -> Neighbor:
    if not isinstance(record, dict):
        raise RequestError(f"field '{where}': expected an object, got {_show(record)}")
    subject = record.get("subject")
    if subject is not None and not isinstance(subject, str):
        raise RequestError(f"field '{where}.subject': expected text or null, got {_show(subject)}")
    prompt = _get(record, "prompt", str, f"{where}.")
    target = _get(record, "target", str, f"{where}.")
    try:
        return Neighbor(prompt=prompt, subject=subject, target=target)
    except RequestError as error:
        raise RequestError(f"in {where}: {error}") from error


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (number from 1, record) of a JSON file that holds a list of objects."""
    with path.open(encoding="utf-8") as file:
        try:
            records = json.load(file)
        except json.JSONDecodeError as error:
            raise RequestError(f"{path}: not JSON: {error}") from error
    if not isinstance(records, list):
        raise RequestError(f"{path}: expected a list of records, got {type(records).__name__}")
    for number, record in enumerate(records, start=1):
        if not isinstance(record, dict):
            raise RequestError(f"{path}, record {number}: expected an object, got {_show(record)}")
        yield number, record


def _unique(path: Path, requests: list[Request]) -> list[Request]:
    seen: dict[int, int] = {}
    for number, request in enumerate(requests, start=1):
        if request.id in seen:
            raise RequestError(
                f"{path}, record {number}: field 'case_id': {request.id} occurs already in "
                f"record {seen[request.id]}"
            )
        seen[request.id] = number
    return requests


class _located:
    """Adds the file and the number of the record to a `RequestError` raised inside."""

    def __init__(self, path: Path, number: int) -> None:
        self.place = f"{path}, record {number}"

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, RequestError):
            raise RequestError(f"{self.place}: {error}") from error


_JSON_NAMES = {str: "text", int: "a whole number", list: "a list", dict: "an object"}


def _get(record: dict[str, Any], name: str, kind: type, where: str = "") -> Any:
    """The field `name` of `record`, which must be there and of type `kind`."""
    if name not in record:
        raise RequestError(f"field '{where}{name}': missing")
    value = record[name]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise RequestError(
            f"field '{where}{name}': expected {_JSON_NAMES[kind]}, got {_show(value)}"
        )
    return value


def _texts(record: dict[str, Any], name: str, where: str = "") -> tuple[str, ...]:
    values = _get(record, name, list, where)
    for i, value in enumerate(values):
        _check_text(value, f"{where}{name}[{i}]")
    return tuple(values)


def _check_text(value: Any, name: str) -> None:
    if not isinstance(value, str) or not value.strip():
        raise RequestError(f"field '{name}': expected non-empty text, got {_show(value)}")


def _check_template(prompt: str, name: str) -> None:
    count = prompt.count(SLOT)
    if count != 1:
        raise RequestError(
            f"field '{name}': expected exactly one '{SLOT}' for the subject, found {count} in "
            f"{_show(prompt)}"
        )


def _show(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…"
