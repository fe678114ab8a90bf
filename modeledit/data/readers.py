"""The files of CounterFact, zsRE, the eligible sets and ME-PPL-50 as their authors ship them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modeledit.data.records import RequestError, check_text, field, located, shown, text_list
from modeledit.data.requests import NO_TRUE_OBJECT, SLOT, Neighbor, Request


def read_counterfact(path: Path | str) -> list[Request]:
    """Read CounterFact records (SPEC E.1), with or without `neighborhood_samples`.

    A neighbor gets its subject and template from `neighborhood_samples[j]` where that fills to
    `neighborhood_prompts[j]`; otherwise its text is kept whole, without a subject. Attribute and
    generation prompts are not used.
    """
    path = Path(path)
    requests = []
    for number, record in _records(path):
        with located(path, number):
            rewrite = field(record, "requested_rewrite", dict)
            at = "requested_rewrite."
            true = field(field(rewrite, "target_true", dict, at), "str", str, f"{at}target_true.")
            new = field(field(rewrite, "target_new", dict, at), "str", str, f"{at}target_new.")
            texts = text_list(record, "neighborhood_prompts")
            samples: list[Any] = [None] * len(texts)
            if "neighborhood_samples" in record:
                samples = field(record, "neighborhood_samples", list)
                if len(samples) != len(texts):
                    raise RequestError(
                        f"field 'neighborhood_samples': {len(samples)} entries for "
                        f"{len(texts)} neighborhood_prompts"
                    )
            requests.append(
                Request(
                    id=field(record, "case_id", int),
                    subject=field(rewrite, "subject", str, at),
                    prompt=field(rewrite, "prompt", str, at),
                    target_new=new,
                    target_true=true,
                    paraphrases=text_list(record, "paraphrase_prompts"),
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
        with located(path, number):
            subject = field(record, "subject", str)
            text = field(record, "prompt", str)
            true = field(record, "ground_truth", str)
            locality = field(record, "locality", dict)
            neighborhood = field(locality, "neighborhood", dict, "locality.")
            at = "locality.neighborhood."
            texts = text_list(neighborhood, "prompt", at)
            truths = text_list(neighborhood, "ground_truth", at)
            if len(texts) != len(truths):
                raise RequestError(
                    f"field '{at}ground_truth': {len(truths)} entries for {len(texts)} prompts"
                )
            editing = []
            for j, sample in enumerate(field(record, "neighborhood_samples", list)):
                where = f"neighborhood_samples[{j}]"
                editing.append(_sample_neighbor(sample, true, where))
            requests.append(
                Request(
                    id=field(record, "case_id", int),
                    subject=subject,
                    prompt=_template(text, subject),
                    target_new=field(record, "target_new", str),
                    target_true=true,
                    paraphrases=text_list(record, "rephrase_prompt"),
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
        with located(path, number):
            subject = field(record, "subject", str)
            answers = text_list(record, "answers")
            if not answers:
                raise RequestError("field 'answers': empty list; o* is its first entry")
            answer = field(record, "loc_ans", str)
            check_text(answer, "loc_ans")
            locality = Neighbor(
                prompt=field(record, "loc", str) + "?",
                subject=None,
                target=answer,
            )
            requests.append(
                Request(
                    id=number - 1,
                    subject=subject,
                    prompt=_template(field(record, "src", str), subject, "src"),
                    target_new=answers[0],
                    target_true=NO_TRUE_OBJECT,
                    paraphrases=(field(record, "rephrase", str),),
                    neighbors=(locality,),
                )
            )
    return requests


def read_me_ppl(path: Path | str) -> list[str]:
    """Read the utterances of ME-PPL-50 as they are: leading spaces count (SPEC E.3)."""
    path = Path(path)
    texts = []
    for number, record in _records(path):
        with located(path, number):
            text = field(record, "Text", str)
            check_text(text, "Text")
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
        raise RequestError(f"field '{where}': expected an object, got {shown(sample)}")
    prompt = field(sample, "prompt", str, f"{where}.")
    subject = field(sample, "subject", str, f"{where}.")
    try:
        return Neighbor(prompt=prompt, subject=subject, target=target)
    except RequestError as error:
        raise RequestError(f"in {where}: {error}") from error


def _template(text: str, subject: str, name: str = "prompt") -> str:
    """Recover the template from a filled prompt; the subject must occur exactly once (I28)."""
    check_text(subject, "subject")
    occurrences = text.count(subject)
    if occurrences != 1:
        raise RequestError(
            f"field '{name}': the subject {shown(subject)} must occur exactly once, found "
            f"{occurrences} times in {shown(text)}"
        )
    return text.replace(subject, SLOT)


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
            raise RequestError(f"{path}, record {number}: expected an object, got {shown(record)}")
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


READERS = {"counterfact": read_counterfact, "zsre": read_zsre, "eligible": read_eligible}
"""What reads a file of requests, by its kind."""
