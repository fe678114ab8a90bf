"""Requests from files: CounterFact, zsRE, EasyEdit's flat CounterFact, the authors' eligible sets,
facts of one's own.

`load_requests` reads a user's file and mends or refuses what it says; `READERS` read the files of
the authors to the letter (`modeledit.data.normalisation` has the rules of both). Either way all
bad records are named at once. ME-PPL-50 is read here too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from modeledit.data import forms, records
from modeledit.data.normalisation import Draft, NeighborDraft, literal, normalised
from modeledit.data.own_records import own
from modeledit.data.problems import NAMED, Problem, lines_of, message, object_of
from modeledit.data.record_files import Entry, many_objects, read_entries
from modeledit.data.records import RequestError, check_text, shown, text_list
from modeledit.data.requests import NO_TRUE_OBJECT, Request

OWN = "own"  # the kind of facts of one's own
_SKIP = " (skip_bad would leave them out)"

Parse = Callable[[dict[str, Any], int], Draft]
"""Makes a draft of a record and its position, from 0."""


@dataclass(frozen=True)
class Loaded:
    """What a file gave.

    `notes` maps what was mended, or kept and is worth a look, to the ids of the requests.
    `left_out` are records of which no request was made: bad ones, and facts that an earlier record
    of the file has already.
    """

    requests: list[Request]
    notes: dict[str, list[int]] = field(default_factory=dict)
    left_out: list[Problem] = field(default_factory=list)

    def lines(self) -> list[str]:
        """What a log should say: one line for each kind of note, and one for each record left out.

        Of many, the first ten are named.
        """
        said = [
            f"{kind}: {_counted(len(ids), 'request')} "
            f"({', '.join([*map(str, ids[:NAMED]), *(['…'] if len(ids) > NAMED else [])])})"
            for kind, ids in self.notes.items()
        ]
        if self.left_out:
            said.append(f"{_counted(len(self.left_out), 'record')} left out:")
            said += lines_of(self.left_out)
        return said

    def record(self) -> dict[str, Any]:
        """The same as JSON: number of requests, notes and what was left out, all of it by name."""
        return {
            "requests": len(self.requests),
            "notes": self.notes,
            "left_out": [vars(problem) for problem in self.left_out],
        }


@many_objects()
def load_requests(
    path: Path | str, kind: str, skip_bad: bool = False, as_published: bool = False
) -> Loaded:
    """Read the requests of a file of `kind` "counterfact", "zsre", "eligible" or "own".

    Texts are normalised, unless the file is one `as_published` by the paper's authors. With
    `skip_bad` records that cannot be requests are left out and named in the result.

    Of several records with one subject and prompt the first counts: a batch that asks for two
    objects of one fact can reach neither, and all of CounterFact has four such pairs, so they
    cannot be refused. The others are left out and named, whether they contradict it or repeat it.
    Facts of "own" are few and can be mended: there such records are bad.

    Raises RequestError, with every bad record (the first ten by name), unless `skip_bad`; and
    always for a file without any usable record, or of another form.
    """
    path = Path(path)
    skip = "" if kind == OWN else _SKIP
    entries = read_entries(path)
    parse = _parser(path, kind, entries)
    problems: list[Problem] = []
    notes: dict[str, list[int]] = {}
    made: list[tuple[Entry, Request]] = []
    for position, entry in enumerate(entries):
        try:
            draft = parse(object_of(entry), position)
            request, said = (literal(draft), set()) if as_published else normalised(draft)
        except RequestError as error:
            problems.append(Problem(entry.place, _id_of(entry.value), str(error)))
            continue
        made.append((entry, request))
        for note in said:
            notes.setdefault(note, []).append(request.id)
    made, same = _without_same_ids(made)
    problems += same
    if kind == OWN:
        made, repeated = _without_same_facts(made, "keep one of the two")
        problems += [replace(one, id="") for one in repeated]
    if problems and not skip_bad:
        raise RequestError(message(path, problems, len(entries), skip))
    if not made:
        raise RequestError(f"{message(path, problems, len(entries), skip)}\nso no request is left")
    if kind != OWN and not as_published:
        made, repeated = _without_same_facts(made)
        problems += repeated
    kept = {request.id for _, request in made}
    of_kept = {note: [i for i in ids if i in kept] for note, ids in sorted(notes.items())}
    return Loaded(
        [request for _, request in made],
        {note: ids for note, ids in of_kept.items() if ids},
        problems,
    )


def read_counterfact(path: Path | str) -> list[Request]:
    """Read CounterFact records as published (SPEC E.1), with or without `neighborhood_samples`.

    A neighbor gets its subject and template from `neighborhood_samples[j]` where that fills to
    `neighborhood_prompts[j]`; otherwise its text is kept whole, without a subject. Attribute and
    generation prompts are not used.
    """
    return load_requests(path, "counterfact", as_published=True).requests


def read_eligible(path: Path | str) -> list[Request]:
    """Read a file of neighbor-eligible records as published (SPEC D.2, D.3).

    `neighborhood_samples` become the editing neighbors, `locality.neighborhood` the evaluation
    neighbors. The prompt is stored filled, so the template is recovered from the subject, which
    must occur in it exactly once.
    """
    return load_requests(path, "eligible", as_published=True).requests


def read_zsre(path: Path | str) -> list[Request]:
    """Read zsRE records as published (SPEC E.2).

    The edit prompt is the question, o* the first answer, o the string `<|endoftext|>`, and the one
    neighbor asks `loc` + "?" for `loc_ans`. Ids are positions in the file, since records carry
    none.
    """
    return load_requests(path, "zsre", as_published=True).requests


READERS = {"counterfact": read_counterfact, "zsre": read_zsre, "eligible": read_eligible}
"""What reads a published file of requests to the letter, by its kind."""


def read_me_ppl(path: Path | str) -> list[str]:
    """Read the utterances of ME-PPL-50 as they are: leading spaces count (SPEC E.3)."""
    path = Path(path)
    texts, problems = [], []
    entries = read_entries(path)
    for entry in entries:
        try:
            text = records.field(object_of(entry), "Text", str)
            check_text(text, "Text")
            texts.append(text)
        except RequestError as error:
            problems.append(Problem(entry.place, "", str(error)))
    if problems:
        raise RequestError(message(path, problems, len(entries)))
    return texts


# --- records of one form -----------------------------------------------------------------------


def _counterfact(record: dict[str, Any], position: int) -> Draft:
    rewrite = records.field(record, "requested_rewrite", dict)
    at = "requested_rewrite."
    new, true = (
        records.field(records.field(rewrite, name, dict, at), "str", str, f"{at}{name}.")
        for name in ("target_new", "target_true")
    )
    texts = text_list(record, "neighborhood_prompts")
    samples: Sequence[Any] = [None] * len(texts)
    if "neighborhood_samples" in record:
        samples = records.field(record, "neighborhood_samples", list)
        if len(samples) != len(texts):
            raise RequestError(
                f"field 'neighborhood_samples': {len(samples)} entries for {len(texts)} "
                "neighborhood_prompts; give each prompt its sample, or none any"
            )
    return Draft(
        id=record.get("case_id", position),
        subject=records.field(rewrite, "subject", str, at),
        prompt=records.field(rewrite, "prompt", str, at),
        target_new=new,
        target_true=true,
        paraphrases=text_list(record, "paraphrase_prompts"),
        neighbors=tuple(
            _listed(text, true, f"neighborhood_prompts[{j}]")
            if sample is None
            else _sampled(sample, text, true, f"neighborhood_samples[{j}]")
            for j, (text, sample) in enumerate(zip(texts, samples, strict=True))
        ),
        relation=rewrite.get("relation_id") or "",
        names={name: f"{at}{name}" for name in ("subject", "prompt", "target_new", "target_true")}
        | {"id": "case_id", "paraphrases": "paraphrase_prompts"},
    )


def _eligible(record: dict[str, Any], position: int) -> Draft:
    true = records.field(record, "ground_truth", str)
    locality = records.field(record, "locality", dict)
    neighborhood = records.field(locality, "neighborhood", dict, "locality.")
    at = "locality.neighborhood."
    texts = text_list(neighborhood, "prompt", at)
    truths = text_list(neighborhood, "ground_truth", at)
    if len(texts) != len(truths):
        raise RequestError(
            f"field '{at}ground_truth': {len(truths)} entries for {len(texts)} prompts; give each "
            "prompt its own"
        )
    return Draft(
        id=record.get("case_id", position),
        subject=records.field(record, "subject", str),
        prompt=records.field(record, "prompt", str),
        target_new=records.field(record, "target_new", str),
        target_true=true,
        paraphrases=text_list(record, "rephrase_prompt"),
        neighbors=tuple(
            _listed(text, truth, f"{at}prompt[{j}]")
            for j, (text, truth) in enumerate(zip(texts, truths, strict=True))
        ),
        editing_neighbors=tuple(
            _sampled(sample, None, true, f"neighborhood_samples[{j}]")
            for j, sample in enumerate(records.field(record, "neighborhood_samples", list))
        ),
        filled=True,
        names={"id": "case_id", "target_true": "ground_truth", "paraphrases": "rephrase_prompt"},
    )


def _zsre(record: dict[str, Any], position: int) -> Draft:
    if "answers" not in record:
        raise RequestError(
            "field 'answers': missing; o* is its first entry (as in MEMIT; EasyEdit edits `alt`): "
            "add it or drop the record"
        )
    answers = _texts(record, "answers")
    if not answers:
        raise RequestError(
            "field 'answers': empty list; o* is its first entry: add it or drop the record"
        )
    answer = records.field(record, "loc_ans", str)
    check_text(answer, "loc_ans")
    question = records.field(record, "loc", str)
    check_text(question, "loc")
    rephrase = records.field(record, "rephrase", str)
    check_text(rephrase, "rephrase")
    return Draft(
        id=position,
        subject=records.field(record, "subject", str),
        prompt=records.field(record, "src", str),
        target_new=answers[0],
        target_true=NO_TRUE_OBJECT,
        paraphrases=(rephrase,),
        neighbors=(_listed(f"{question}?", answer, "loc"),),
        filled=True,
        names={"prompt": "src", "target_new": "answers[0]", "paraphrases": "rephrase"},
    )


def _flat(record: dict[str, Any], position: int) -> Draft:
    """EasyEdit's flat CounterFact; what is asked of paraphrases and neighbors may be a list."""
    prompts, truths = _texts(record, "locality_prompt"), _texts(record, "locality_ground_truth")
    if len(prompts) != len(truths):
        raise RequestError(
            f"field 'locality_ground_truth': {len(truths)} entries for {len(prompts)} in "
            "locality_prompt; give each prompt its own"
        )
    return Draft(
        id=record.get("case_id", position),
        subject=records.field(record, "subject", str),
        prompt=records.field(record, "prompt", str),
        target_new=records.field(record, "target_new", str),
        target_true=records.field(record, "ground_truth", str),
        paraphrases=_texts(record, "rephrase_prompt"),
        neighbors=tuple(
            _listed(text, truth, f"locality_prompt[{j}]")
            for j, (text, truth) in enumerate(zip(prompts, truths, strict=True))
        ),
        filled=True,
        names={"id": "case_id", "target_true": "ground_truth", "paraphrases": "rephrase_prompt"},
    )


_PARSERS: dict[str, dict[str, Parse]] = {
    "counterfact": {forms.COUNTERFACT: _counterfact, forms.FLAT: _flat},
    "zsre": {forms.ZSRE: _zsre},
    "eligible": {forms.ELIGIBLE: _eligible},
    OWN: {forms.OWN: own, forms.FLAT: _flat, forms.COUNTERFACT: _counterfact},
}


def _texts(record: dict[str, Any], name: str) -> tuple[str, ...]:
    """The field `name`: a text, a list of texts, or nothing."""
    if isinstance(record.get(name), str):
        check_text(record[name], name)
        return (record[name],)
    return text_list(record, name) if name in record else ()


def _listed(text: str, target: str, where: str) -> NeighborDraft:
    return NeighborDraft(target, where, text=text)


def _sampled(sample: Any, text: str | None, target: str, where: str) -> NeighborDraft:
    if not isinstance(sample, dict):
        raise RequestError(f"field '{where}': expected an object, got {shown(sample)}; correct it")
    prompt, subject = sample.get("prompt"), sample.get("subject")
    if not (isinstance(prompt, str) and isinstance(subject, str)):
        records.field(sample, "prompt", str, f"{where}.")
        records.field(sample, "subject", str, f"{where}.")
    return NeighborDraft(target, where, text=text, prompt=prompt, subject=subject)


# --- files as a whole --------------------------------------------------------------------------


def _parser(path: Path, kind: str, entries: Sequence[Entry]) -> Parse:
    """What reads the records of a file; RequestError where they are not of `kind`."""
    form = forms.recognise(entry.value for entry in entries)
    if kind == OWN and (form is None or form.name not in _PARSERS[OWN]):
        return own  # which says of each record what it lacks, and which of its fields are unknown
    if form is None:
        sound = next((entry for entry in entries if not entry.broken), None)
        if sound is None:
            problems = [Problem(entry.place, "", entry.broken) for entry in entries]
            raise RequestError(message(path, problems, len(entries), _SKIP))
        raise RequestError(f"{path}: {forms.unknown(sound.value)}")
    if form.name not in _PARSERS[kind]:
        expected = " or ".join(_PARSERS[kind])
        raise RequestError(
            f"{path}: its records are {form.name}, expected {expected}: {form.way_out}"
        )
    parse = _PARSERS[kind][form.name]
    # Ids are positions where no record has one; where some have, the others lack theirs.
    if any(isinstance(entry.value, dict) and "case_id" in entry.value for entry in entries):
        return lambda record, position: _with_id(parse(record, position), record)
    return parse


def _with_id(draft: Draft, record: dict[str, Any]) -> Draft:
    if "id" in draft.names and draft.names["id"] not in record:
        raise RequestError(
            f"field '{draft.names['id']}': missing, though other records have one; add it"
        )
    return draft


def _id_of(value: Any) -> str:
    """The id of a record as it is written, or ""."""
    return shown(value["case_id"]) if isinstance(value, dict) and "case_id" in value else ""


def _without_same_ids(
    made: Sequence[tuple[Entry, Request]],
) -> tuple[list[tuple[Entry, Request]], list[Problem]]:
    seen: dict[int, str] = {}
    kept, problems = [], []
    for entry, request in made:
        if request.id in seen:
            why = (
                f"field 'case_id': {request.id} occurs already in {seen[request.id]}; give every "
                "record an id of its own"
            )
            problems.append(Problem(entry.place, str(request.id), why))
        else:
            seen[request.id] = entry.place
            kept.append((entry, request))
    return kept, problems


def _without_same_facts(
    made: Sequence[tuple[Entry, Request]], way_out: str = "the first one counts"
) -> tuple[list[tuple[Entry, Request]], list[Problem]]:
    """The first request of every subject and prompt; the others with what they say otherwise."""
    seen: dict[tuple[str, str], tuple[Entry, Request]] = {}
    kept, problems = [], []
    for entry, request in made:
        first = seen.setdefault((request.subject, request.prompt), (entry, request))
        if first[1] is request:
            kept.append((entry, request))
            continue
        other = f"{first[0].place} (id {first[1].id})"
        if first[1].target_new == request.target_new:
            why = f"{shown(request.text)} is edited already by {other}"
        else:
            why = (
                f"{shown(request.text)} -> {shown(request.target_new)} contradicts {other}, "
                f"{shown(first[1].target_new)}; {way_out}"
            )
        problems.append(Problem(entry.place, str(request.id), why))
    return kept, problems


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
