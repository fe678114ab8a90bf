"""What texts of records become: mended and counted, kept and counted, or refused."""

import hashlib
import os
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from modeledit.data import normalisation as rules
from modeledit.data.normalisation import Draft, NeighborDraft, literal, normalised
from modeledit.data.readers import READERS, load_requests
from modeledit.data.records import RequestError
from modeledit.data.requests import LARGEST_ID, MOST_PROMPTS, Neighbor, write_requests
from modeledit.data.writing import separator

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("MODELEDIT_DATA", ROOT.parent / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the published data is not here")

SOUND = Draft(
    id=3,
    subject="Lyon",
    prompt="{} is in",
    target_new="Peru",
    target_true="France",
    paraphrases=("\n\nIt rained. Lyon lies in",),
    neighbors=(
        NeighborDraft("France", "n[0]", text="Nice is in", prompt="{} is in", subject="Nice"),
        NeighborDraft("France", "n[1]", text="Lille is in"),
    ),
    relation="P17",
)


def test_what_is_sound_stays_as_it_is_and_nothing_is_noted():
    request, notes = normalised(SOUND)
    assert notes == set()
    assert request == literal(SOUND)
    assert request.paraphrases == SOUND.paraphrases  # which begins with empty lines
    assert request.neighbors == (
        Neighbor("{} is in", "Nice", "France"),
        Neighbor("Lille is in", None, "France"),
    )


@pytest.mark.parametrize("mark", [" ", "\n", "\u00a0", "\u3000", "\u200b", "\ufeff", "\u00ad"])
@pytest.mark.parametrize("name", ["subject", "target_new", "target_true"])
@pytest.mark.parametrize("place", ["{1}{0}", "{0}{1}", "{1}{0}{1}"])
def test_blanks_and_invisible_characters_around_names_are_taken_away(name, mark, place):
    draft = replace(SOUND, **{name: place.format(getattr(SOUND, name), mark)})
    request, notes = normalised(draft)
    assert request == literal(SOUND)
    assert notes == {rules.BLANKS}
    assert getattr(literal(draft), name) != getattr(request, name)


def test_a_prompt_ends_without_blanks_and_keeps_what_it_begins_with():
    draft = replace(
        SOUND,
        prompt="{} is in \n",
        paraphrases=("\n\nIt rained. Lyon lies in\u00a0",),
        neighbors=(
            NeighborDraft("France ", "n[0]", text="Nice is in ", prompt="{} is in", subject="Nice"),
            NeighborDraft("France", "n[1]", text="Lille is in\u200b"),
        ),
    )
    assert normalised(draft) == (literal(SOUND), {rules.BLANKS})


def test_characters_that_are_composed_otherwise_become_the_same():
    name = "Zürich"
    apart = unicodedata.normalize("NFD", name)
    for subject, inside in ((apart, name), (name, apart)):
        draft = replace(
            SOUND, subject=subject, prompt=f"{inside} is in", paraphrases=(f"In {inside} speak",)
        )
        request, notes = normalised(draft)
        assert (request.subject, request.prompt) == (name, "{} is in")
        assert request.paraphrases == (f"In {name} speak",)
        assert rules.COMPOSED in notes
        with pytest.raises(RequestError, match="found 0 times"):
            literal(draft)


def test_a_prompt_that_holds_its_subject_becomes_a_template():
    draft = replace(SOUND, prompt="Is Lyon in")
    assert normalised(draft)[0].prompt == "Is {} in"
    assert normalised(draft)[1] == {rules.FILLED}
    assert normalised(replace(draft, filled=True))[1] == set()  # as all of zsRE do


def test_slots_of_paraphrases_and_neighbors_are_filled():
    draft = replace(
        SOUND,
        paraphrases=("Where is {}? It is in", "{x} Lyon is in"),
        neighbors=(
            NeighborDraft("France", "n", text="{} is in", prompt="{} is in", subject="Nice"),
        ),
    )
    request, notes = normalised(draft)
    assert request.paraphrases == ("Where is Lyon? It is in", "{x} Lyon is in")
    assert request.neighbors == (Neighbor("{} is in", "Nice", "France"),)
    assert notes == {rules.SLOTS}


@pytest.mark.parametrize("written", ["12", " 12 ", 12.0])
def test_an_id_that_is_written_otherwise_is_a_whole_number(written):
    request, notes = normalised(replace(SOUND, id=written))
    assert type(request.id) is int and request.id == 12
    assert notes == {rules.IDS}


@pytest.mark.parametrize(
    "written", [10**20, LARGEST_ID + 1, -1, True, None, 1.5, "a7f3", "", [1], "10" * 15, "1²"]
)
@pytest.mark.parametrize("read", [literal, normalised])
def test_an_id_that_no_table_can_hold_is_refused(written, read):
    with pytest.raises(RequestError, match="'id': expected a whole number from 0 to 9223.*number"):
        read(replace(SOUND, id=written))
    assert literal(replace(SOUND, id=LARGEST_ID)).id == LARGEST_ID


def test_a_copy_of_a_neighbor_and_the_edited_prompt_are_no_neighbors():
    nice, lille = SOUND.neighbors
    itself = NeighborDraft("France", "n", text="Lyon is in")
    draft = replace(SOUND, neighbors=(nice, lille, nice, itself))
    assert normalised(draft) == (literal(SOUND), {rules.COPIES})
    assert len(literal(draft).neighbors) == 4
    draft = replace(SOUND, editing_neighbors=(nice,))
    request, notes = normalised(draft)
    assert [n.text for n in request.editing_neighbors] == ["Nice is in"]
    assert [n.text for n in request.neighbors] == ["Lille is in"]
    assert notes == {rules.COPIES}


@pytest.mark.parametrize(
    ("template", "subject", "word"),
    [
        ("Die Hauptstadt {}s ist", "Frankreich", "Frankreichs"),
        ("{}straße liegt in", "Berlin", "Berlinstraße"),
        ("Das alt{} liegt in", "paris", "altparis"),
        ("Столица {}а это", "Иран", "Ирана"),
        ("{}2 is made by", "PlayStation", "PlayStation2"),
    ],
)
def test_a_subject_that_goes_on_in_a_longer_word_is_refused(template, subject, word):
    for prompt in (template, template.replace("{}", subject)):
        draft = replace(SOUND, subject=subject, prompt=prompt)
        with pytest.raises(RequestError, match=f"longer word '{word}'.*reword the prompt"):
            normalised(draft)
        assert literal(draft).prompt == template  # the authors' files are taken as they are


@pytest.mark.parametrize("template", ["{}'s capital is", "({}) is", "Trans-{}-Express is in", "{}"])
def test_marks_of_punctuation_end_a_subject(template):
    assert normalised(replace(SOUND, prompt=template)) == (
        literal(replace(SOUND, prompt=template)),
        set(),
    )


def test_a_neighbor_whose_subject_goes_on_is_evaluated_on_but_never_edits():
    glued = NeighborDraft(
        "Oceania", "n", text="Australian Antarctic is in", prompt="{}n Antarctic is in"
    )
    glued.subject = "Australia"
    request, notes = normalised(replace(SOUND, neighbors=(glued,)))
    assert request.neighbors == (Neighbor("Australian Antarctic is in", None, "Oceania"),)
    assert notes == {rules.GLUED_NEIGHBORS}
    assert literal(replace(SOUND, neighbors=(glued,))).neighbors[0].subject == "Australia"


@pytest.mark.parametrize(
    ("template", "subject", "target", "notes"),
    [
        ("{}の首都は", "フランス", "東京", {rules.FOLLOWED, rules.UNSPACED}),
        ("{}的首都是", "法国", "东京", {rules.FOLLOWED, rules.UNSPACED}),
        ("{}의 수도는", "프랑스", "도쿄", {rules.FOLLOWED}),
        ("เมืองหลวงของ{}คือ", "ฝรั่งเศส", "โตเกียว", {rules.FOLLOWED, rules.UNSPACED}),
        ("The capital of {} is", "Japan", "東京", set()),
    ],
)
def test_scripts_without_spaces_are_told_not_refused(template, subject, target, notes):
    draft = replace(
        SOUND, subject=subject, prompt=template, target_new=target, paraphrases=(), neighbors=()
    )
    request, found = normalised(draft)
    assert (request.subject, request.prompt) == (subject, template)
    assert found == notes


@pytest.mark.parametrize(
    ("prompt", "target", "between"),
    [
        ("フランスの首都は", "東京", ""),
        ("首都は、", "東京", ""),
        ("เมืองหลวงคือ", "โตเกียว", ""),
        ("法国的首都是", "Tokyo", " "),
        ("The capital is", "東京", " "),
        ("프랑스의 수도는", "도쿄", " "),
        ("The capital is", "Tokyo", " "),
        ("", "東京", " "),
        ("は", "", " "),
    ],
)
def test_a_space_stands_before_an_object_where_its_script_has_spaces(prompt, target, between):
    assert separator(prompt, target) == between


def test_what_may_be_meant_is_kept_and_told():
    draft = replace(
        SOUND,
        target_new="می\u200cخواهم",
        paraphrases=("A town lies in",),
        neighbors=(NeighborDraft("Fran\ufffdce", "n", text="Nice is in"),),
    )
    request, notes = normalised(draft)
    assert request.target_new == "می\u200cخواهم"
    assert request.neighbors[0].target == "Fran\ufffdce"
    assert notes == {rules.INSIDE, rules.UNNAMED, rules.DAMAGED}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target_new": "France\u00a0"}, "'target_new': 'France' is also the old object"),
        ({"target_new": "\u200b\u00a0"}, "'target_new': expected non-empty text"),
        ({"subject": "\ufeff"}, "'subject': expected non-empty text"),
        ({"subject": "lyon", "prompt": "Is Lyon in"}, "'lyon' occurs as 'Lyon' in"),
        ({"prompt": "Is Rome in"}, "exactly one '{}'.*found 0 times"),
        ({"prompt": "Is Lyon or Lyon in"}, "exactly one '{}'.*found 2 times"),
        ({"prompt": "{} or {} in"}, "expected exactly one '{}'"),
        ({"paraphrases": ("{} or {} in",)}, r"'paraphrases\[0\]': '{}' that nothing fills"),
        ({"neighbors": (NeighborDraft("a", "n[7]", text="{} in"),)}, r"'n\[7\]': '{}' that"),
        ({"neighbors": (NeighborDraft("\u200b", "n[7]", text="x"),)}, r"n\[7\]: its object is bl"),
        ({"subject": "Lyon\ud83d"}, r"'subject': half a character \(surrogate '\\ud83d'\)"),
        ({"target_new": "\udc00"}, "'target_new': half a character"),
        ({"paraphrases": ("Lyon \ud800",)}, r"'paraphrases\[0\]': half a character"),
        ({"neighbors": (NeighborDraft("\ud800", "n[7]", text="x"),)}, r"n\[7\].*half a char"),
        ({"relation": "\ud800"}, "'relation': half a character"),
        ({"subject": "{}"}, "'subject': '{}' that nothing fills in '{}'; "),
    ],
)
def test_what_cannot_be_right_is_refused_with_the_way_out(changes, message):
    with pytest.raises(RequestError, match=message):
        normalised(replace(SOUND, **changes))


def test_errors_call_fields_as_the_record_does():
    draft = replace(SOUND, prompt="Is Rome in", names={"prompt": "src"})
    with pytest.raises(RequestError, match="field 'src'"):
        normalised(draft)


@pytest.mark.parametrize("name", ["paraphrases", "neighbors"])
def test_more_prompts_than_scores_can_count_are_refused(name):
    made = {
        "paraphrases": tuple(f"Lyon {i}" for i in range(MOST_PROMPTS + 1)),
        "neighbors": tuple(
            NeighborDraft("France", "n", text=f"Nice {i}") for i in range(MOST_PROMPTS + 1)
        ),
    }[name]
    with pytest.raises(RequestError, match=f"'{name}': 32769 entries, at most 32768"):
        normalised(replace(SOUND, **{name: made}))
    assert len(getattr(normalised(replace(SOUND, **{name: made[1:]}))[0], name)) == MOST_PROMPTS


texts = st.text(st.characters(), max_size=6) | st.sampled_from(
    ["{}", "Lyon", " Lyon", "Lyon{}", "\u200b", "\ud800", "é", "e\u0301"]
)
neighbor_drafts = st.lists(
    st.builds(
        NeighborDraft,
        target=texts.map("o{}".format),
        where=st.just("n"),
        text=st.none() | texts.map("Nice {}".format),
        prompt=st.none() | texts.map("{{}} in {}".format),
        subject=st.none() | texts,
    ),
    max_size=2,
).map(tuple)
wild = st.builds(
    Draft,
    id=st.integers() | st.text(max_size=4) | st.floats() | st.none(),
    subject=texts,
    prompt=texts | st.builds("{}{}".format, texts, texts),
    target_new=texts,
    target_true=texts,
    paraphrases=st.lists(texts, max_size=2).map(tuple),
    neighbors=neighbor_drafts,
    relation=texts,
)
likely = st.builds(
    Draft,
    id=st.integers(0, 10) | st.just("7"),
    subject=st.sampled_from(["Lyon", " Lyon", "Zu\u0308rich", "\u200bLyon\u00a0", "法国"]),
    prompt=st.builds("{} {}{}".format, texts, st.sampled_from(["{}", "Lyon"]), st.just(" is in ")),
    target_new=texts.map("x{}".format),
    target_true=texts.map("{}y".format),
    paraphrases=st.lists(texts.map("Lyon {}".format), max_size=2).map(tuple),
    neighbors=neighbor_drafts,
    relation=st.just("P17"),
)


@given(wild)
def test_any_draft_is_a_request_or_refused(draft):
    for read in (literal, normalised):
        try:
            read(draft)
        except RequestError as error:
            assert str(error)


@given(likely)
def test_a_normalised_request_is_settled(draft):
    try:
        request, _ = normalised(draft)
    except RequestError:
        assume(False)
    for text in (request.subject, request.target_new, request.target_true):
        assert text == text.strip() == unicodedata.normalize("NFC", text) != ""
    assert request.target_new != request.target_true
    assert request.text.count(request.subject) == 1
    prompts = [request.text, *(n.text for n in request.neighbors)]
    assert len(set(prompts)) == len(prompts)
    for prompt in (*prompts, *request.paraphrases):
        assert prompt == prompt.rstrip()
    again = Draft(
        **{name: getattr(request, name) for name in ("id", "subject", "prompt", "relation")},
        target_new=request.target_new,
        target_true=request.target_true,
        paraphrases=request.paraphrases,
        neighbors=tuple(
            NeighborDraft(n.target, "n", n.text if n.subject is None else None, n.prompt, n.subject)
            for n in request.neighbors
        ),
    )
    assert normalised(again)[0] == request


# What the readers made of the authors' files before texts were normalised: sha256 of the requests
# as they are written, its first half. The tables of the paper come from these prompts.
PUBLISHED = {
    "counterfact/random_subset_1": "97fc5f6708d4aa9655473946e0a97b76",
    "counterfact/random_subset_10": "4c11a1354b047ff90aad074653cd640d",
    "counterfact/random_subset_15": "fea3dc34b92b7a57ede750dc25af4483",
    "zsre/random_subset_0": "6965e1bfe624b48f9d1e1ac5e22bbba3",
    "zsre/random_subset_10": "f8bd2ee8c6a466485a8e57880651a983",
    "zsre/random_subset_15": "a7233db5bd9700acc28bfcf39b5c698d",
    "neighbors/random_subset_739": "bf6ac4082791ad1643fc2d4a84979327",
    "neighbors/random_subset_960": "7d9d854cebdfa0c3007fff7801ed3c54",
    "neighbors/random_subset_1340": "659c2a77b6eb6fa19c98c70902059ce3",
}
KINDS = {"counterfact": "counterfact", "zsre": "zsre", "neighbors": "eligible"}


@needs_data
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_requests_are_the_same_to_the_byte(name, tmp_path):
    requests = READERS[KINDS[name.split("/")[0]]](DATA / f"{name}.json")
    write_requests(tmp_path / "requests.jsonl", requests)
    found = hashlib.sha256((tmp_path / "requests.jsonl").read_bytes()).hexdigest()
    assert found[:32] == PUBLISHED[name]


@needs_data
@pytest.mark.parametrize("name", PUBLISHED)
def test_normalising_published_requests_changes_neighbors_alone(name):
    kind = KINDS[name.split("/")[0]]
    as_they_are = READERS[kind](DATA / f"{name}.json")
    loaded = load_requests(DATA / f"{name}.json", kind)
    assert loaded.left_out == []
    touched = {rules.COPIES, rules.GLUED_NEIGHBORS}
    assert set(loaded.notes) <= touched | {rules.INSIDE}
    changed = {i for note in touched & set(loaded.notes) for i in loaded.notes[note]}
    for before, after in zip(as_they_are, loaded.requests, strict=True):
        assert (before == after) == (before.id not in changed)
        assert replace(before, neighbors=(), editing_neighbors=()) == replace(
            after, neighbors=(), editing_neighbors=()
        )
