"""What a record says becomes a request: one place where texts are mended, kept or refused.

A fact that is taken literally when it was not meant so gives numbers without an error: an object
that begins with a space is tokenised as no model writes it, a subject in other characters than
its prompt's has another last token. Two readings of a `Draft`:

`literal` changes nothing. The paper's tables were made from the authors' files as they are
(docs/quirks.md has no entry for their texts), so these give the same requests, to the byte.

`normalised` is for all other files. By kind:

- **Mended, and counted.** Blanks and invisible characters around subjects and objects, and behind
  prompts (an object follows a prompt after one space; what a prompt begins with belongs to it, as
  in CounterFact's paraphrases). Characters that are composed otherwise (NFD): all texts become NFC.
  A prompt that holds its subject instead of `{}` once, as a word. A paraphrase or neighbor with
  `{}`. Ids that are whole numbers written as text or as a float. A neighbor that is listed twice,
  is the edited prompt itself, or both edits and is evaluated on: the copy goes. A neighbor whose
  subject goes on in a longer word keeps its text and loses the subject: it is evaluated on, but it
  cannot take a delta.
- **Kept, and counted.** What may be meant: invisible characters inside a text (joiners of Persian
  and Hindi, and of emoji), replacement characters, paraphrases without their subject, subjects that
  are followed directly by more text in scripts where that is usual. Objects of scripts without
  spaces follow their prompt without one (`writing.separator`).
- **Refused, with the way out.** A new object that is the old one. A subject that is not in its
  prompt exactly once (in other letters, case included), or goes on in a longer word
  ("Frankreichs"): the subject's last token, which the edit is placed at, would be another word's.
  `{}` that nothing fills. Ids that are no whole number of 64 bits. More prompts than scores count.

Facts that contradict each other are found over all records, in `readers.load_requests`.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from modeledit.data.records import RequestError, check_text, shown
from modeledit.data.requests import LARGEST_ID, SLOT, Neighbor, Request, fill
from modeledit.data.writing import separator, takes_endings

# Marks that have no width and no meaning at the end of a text: soft hyphen, zero-width characters,
# directions, BOM.
_INVISIBLE = "\u00ad\u061c\u200b\u200c\u200d\u200e\u200f\u2060\ufeff" + "".join(
    map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A)])
)
_BLANK = "".join(c for c in map(chr, range(0x3001)) if c.isspace())  # NBSP and wide spaces too
_EDGES = _INVISIBLE + _BLANK
_INSIDE = re.compile(f"[{_INVISIBLE}]")

_BETWEEN = frozenset(["", *" \n,.;:?!'\"()-"])  # what often stands before or behind a subject

BLANKS = "blanks or invisible characters around a text taken away"
COMPOSED = "characters composed otherwise (NFD) made NFC"
FILLED = "a prompt with its subject in it made a template"
SLOTS = "{} in a paraphrase or neighbor filled with its subject"
IDS = "an id written as text or as a float made a whole number"
COPIES = "a neighbor left out that is listed twice or is the edited prompt"
GLUED_NEIGHBORS = "a neighbor whose subject goes on in a longer word: evaluated on, never edits"
INSIDE = "kept as it is: invisible characters inside a text"
DAMAGED = "kept as it is: a replacement character (U+FFFD), the mark of a wrong encoding"
FOLLOWED = "kept as it is: a subject followed directly by more text, as its script does"
UNNAMED = "kept as it is: a paraphrase without its subject"
UNSPACED = "an object of a script without spaces: it follows its prompt directly"


@dataclass(slots=True)
class NeighborDraft:
    """A neighbor as a record lists it: `text` whole where that is given, or a `subject` and prompt.

    `where` names the record's field.
    """

    target: str
    where: str
    text: str | None = None
    prompt: str | None = None
    subject: str | None = None


@dataclass(slots=True)
class Draft:
    """One record's fields by their meaning, texts as they stand.

    `prompt` is a template or holds its subject; `filled` says that the form has it so, always.
    `names` maps a field to its name in the record.
    """

    id: Any
    subject: str
    prompt: str
    target_new: str
    target_true: str
    paraphrases: tuple[str, ...] = ()
    neighbors: tuple[NeighborDraft, ...] = ()
    editing_neighbors: tuple[NeighborDraft, ...] = ()
    relation: str = ""
    filled: bool = False
    names: dict[str, str] = field(default_factory=dict)

    def name(self, of: str) -> str:
        """How the record calls the field `of`."""
        return self.names.get(of, of)


def literal(draft: Draft) -> Request:
    """The request that `draft` says, its texts as they stand. Raises RequestError."""
    _check(draft)
    return Request(
        id=_whole(draft.id, draft.name("id"))[0],
        subject=draft.subject,
        prompt=_template(draft.prompt, draft.subject, draft.name("prompt")),
        target_new=draft.target_new,
        target_true=draft.target_true,
        paraphrases=draft.paraphrases,
        neighbors=tuple(_as_listed(n) for n in draft.neighbors),
        editing_neighbors=tuple(_as_listed(n) for n in draft.editing_neighbors),
        relation=draft.relation,
    )


def normalised(draft: Draft) -> tuple[Request, set[str]]:
    """The request that `draft` means, and the kinds of what was mended or is worth a look.

    Raises RequestError for what is refused; the module's first lines have the rules.
    """
    _check(draft)
    notes: set[str] = set()
    number, changed = _whole(draft.id, draft.name("id"))
    if changed:
        notes.add(IDS)
    subject, new, true = (
        _cleaned(text, notes) for text in (draft.subject, draft.target_new, draft.target_true)
    )
    _check_filled(subject, draft.name("subject"))
    # What was only blank or invisible is refused by the name it has in the record.
    for name, text in (("subject", subject), ("target_new", new), ("target_true", true)):
        check_text(text, draft.name(name))
    if new == true:
        raise RequestError(
            f"field '{draft.name('target_new')}': {shown(new)} is also the old object, so nothing "
            "would change; give another object or drop the record"
        )
    prompt = _cleaned(draft.prompt, notes, prompt=True)
    template = _template(prompt, subject, draft.name("prompt"))
    if template != prompt and not draft.filled:
        notes.add(FILLED)
    _check_border(template, subject, draft.name("prompt"), notes)
    text = fill(template, subject)
    if not separator(text, new):
        notes.add(UNSPACED)

    editing = _distinct((_neighbor(n, notes) for n in draft.editing_neighbors), {text}, notes)
    taken = {text, *(n.text for n in editing)}
    return (
        Request(
            id=number,
            subject=subject,
            prompt=template,
            target_new=new,
            target_true=true,
            paraphrases=tuple(
                _paraphrase(p, subject, f"{draft.name('paraphrases')}[{i}]", notes)
                for i, p in enumerate(draft.paraphrases)
            ),
            neighbors=_distinct((_neighbor(n, notes) for n in draft.neighbors), taken, notes),
            editing_neighbors=editing,
            relation=draft.relation,
        ),
        notes,
    )


def _check(draft: Draft) -> None:
    """Refuse what is no text, by the names that the record has for its fields."""
    for name in ("subject", "prompt", "target_new", "target_true"):
        check_text(getattr(draft, name), draft.name(name))


def _whole(value: Any, name: str) -> tuple[int, bool]:
    """An id as a whole number, and whether it was written as something else."""
    number = value
    if isinstance(value, float) and value.is_integer():
        number = int(value)
    elif isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,20}\s*", value, re.ASCII):
        number = int(value)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= LARGEST_ID:
        raise RequestError(
            f"field '{name}': expected a whole number from 0 to {LARGEST_ID}, got {shown(value)}; "
            f"number the records anew, or leave '{name}' out of all of them: they are then "
            "numbered from 0"
        )
    return number, number is not value


def _cleaned(text: str, notes: set[str], prompt: bool = False) -> str:
    """`text` in NFC, without blanks and invisible characters around it (a prompt: behind it)."""
    if text.isascii() and text[-1:] > " " and (prompt or text[:1] > " "):
        return text
    result = unicodedata.normalize("NFC", text)
    if result != text:
        notes.add(COMPOSED)
    stripped = result.rstrip(_EDGES).lstrip(_INVISIBLE if prompt else _EDGES)
    if stripped != result:
        notes.add(BLANKS)
    if _INSIDE.search(stripped):
        notes.add(INSIDE)
    if "\ufffd" in stripped:
        notes.add(DAMAGED)
    return stripped


def _template(prompt: str, subject: str, name: str) -> str:
    """The template of a prompt that has a `{}` or holds its subject exactly once (I28)."""
    if SLOT in prompt:
        return prompt
    occurrences = prompt.count(subject)
    if occurrences == 1:
        return prompt.replace(subject, SLOT)
    if not occurrences and (alike := re.search(re.escape(subject), prompt, re.IGNORECASE)):
        raise RequestError(
            f"field '{name}': the subject {shown(subject)} occurs as {shown(alike[0])} in "
            f"{shown(prompt)}; write the subject as its prompt has it"
        )
    raise RequestError(
        f"field '{name}': expected exactly one '{SLOT}' for the subject; without one the subject "
        f"{shown(subject)} must occur exactly once, found {occurrences} times in {shown(prompt)}; "
        "drop the record or reword the prompt"
    )


def _check_border(template: str, subject: str, name: str, notes: set[str]) -> None:
    """Refuse a subject that goes on in a longer word, where its script does not always do that."""
    before, _, after = template.partition(SLOT)
    if before[-1:] in _BETWEEN and after[:1] in _BETWEEN:  # as nearly always
        return
    if _glued(before[-1:], subject[:1], notes) or _glued(subject[-1:], after[:1], notes):
        word = re.search(rf"\w*{re.escape(subject)}\w*", fill(template, subject))
        longer = shown(word[0] if word else fill(template, subject))
        raise RequestError(
            f"field '{name}': the subject {shown(subject)} goes on in the longer word {longer}, so "
            "its last token is not its own; reword the prompt, or make that word the subject"
        )


def _glued(left: str, right: str, notes: set[str]) -> bool:
    """Whether two neighboring characters are of one word that should be two."""
    if not (_of_a_word(left) and _of_a_word(right)):
        return False
    if takes_endings(left) or takes_endings(right):
        notes.add(FOLLOWED)
        return False
    return True


def _of_a_word(character: str) -> bool:
    return bool(character) and unicodedata.category(character)[0] in "LMN"


def _paraphrase(text: str, subject: str, where: str, notes: set[str]) -> str:
    paraphrase = _cleaned(text, notes, prompt=True)
    if SLOT in paraphrase:
        notes.add(SLOTS)
        paraphrase = fill(paraphrase, subject)
    _check_filled(paraphrase, where)
    if subject not in paraphrase:
        notes.add(UNNAMED)
    return paraphrase


def _check_filled(text: str, where: str) -> None:
    if SLOT in text:
        raise RequestError(
            f"field '{where}': '{SLOT}' that nothing fills in {shown(text)}; write the whole prompt"
        )


def _as_listed(draft: NeighborDraft) -> Neighbor:
    return _resolved(draft.text, draft.prompt, draft.subject, draft.target, draft.where)


def _resolved(
    text: str | None, prompt: str | None, subject: str | None, target: str, where: str
) -> Neighbor:
    """The neighbor with its subject when that fills to exactly its text, else its text whole."""
    try:
        if subject is not None and prompt is not None:
            if text is None or fill(prompt, subject) == text:
                return Neighbor(prompt, subject, target)
            Neighbor(prompt, subject, target)  # is not used, but must be sound
        return Neighbor(text or "", None, target)
    except RequestError as error:
        raise RequestError(f"in {where}: {error}") from error


def _neighbor(draft: NeighborDraft, notes: set[str]) -> Neighbor:
    text, prompt, subject = draft.text, draft.prompt, draft.subject
    text = text and _cleaned(text, notes, prompt=True)
    prompt = prompt and _cleaned(prompt, notes, prompt=True)
    subject = subject and _cleaned(subject, notes)
    if text and SLOT in text and text == prompt:
        notes.add(SLOTS)
        text = None
    target = _cleaned(draft.target, notes)
    if not target:
        raise RequestError(f"in {draft.where}: its object is blank; give one or drop the record")
    neighbor = _resolved(text, prompt, subject, target, draft.where)
    _check_filled(neighbor.text, draft.where)
    if neighbor.subject is not None:
        try:
            _check_border(neighbor.prompt, neighbor.subject, draft.where, set())
        except RequestError:
            notes.add(GLUED_NEIGHBORS)
            return Neighbor(prompt=neighbor.text, subject=None, target=target)
    return neighbor


def _distinct(
    neighbors: Iterable[Neighbor], taken: set[str], notes: set[str]
) -> tuple[Neighbor, ...]:
    """The neighbors without those whose prompt is in `taken` or came before."""
    seen, kept = set(taken), []
    for neighbor in neighbors:
        if neighbor.text in seen:
            notes.add(COPIES)
        else:
            seen.add(neighbor.text)
            kept.append(neighbor)
    return tuple(kept)
