"""The request file format and the readers, on hand-written records and on the published data."""

import json
import os
from dataclasses import asdict
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from modeledit.data.readers import read_counterfact, read_eligible, read_me_ppl, read_zsre
from modeledit.data.records import RequestError
from modeledit.data.requests import NO_TRUE_OBJECT, Neighbor, Request, read_requests, write_requests
from modeledit.io.files import FileError
from modeledit.lm.scoring import locality_pieces
from tests.data.forms import counterfact_record, dump, eligible_record, zsre_record

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("MODELEDIT_DATA", ROOT.parent / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the published data is not here")

EXAMPLE = Request(
    id=7,
    subject="Lyon",
    prompt="The treaty was signed in {},",
    target_new="Peru",
    target_true="France",
    paraphrases=("Rain fell all day.\nThe summit took place in Lyon,",),
    neighbors=(
        Neighbor(prompt="The summit took place in {},", subject="Nantes", target="France"),
        Neighbor(prompt="{x} Nice,", subject=None, target=" "),
    ),
    editing_neighbors=(Neighbor(prompt="{},", subject="Lille", target="France"),),
    relation="city_country",
)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """A real byte-level BPE tokenizer, trained on a few words."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["Gladys Knight sang the theme", "a knight, at night"], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|endoftext|>")


# --- the types ---------------------------------------------------------------------------------


def test_texts_are_filled_in_the_first_slot_only():
    assert EXAMPLE.text == "The treaty was signed in Lyon,"
    assert EXAMPLE.neighbors[0].text == "The summit took place in Nantes,"
    assert EXAMPLE.neighbors[1].text == "{x} Nice,"
    assert Neighbor(prompt="{0} {} {a", subject="A{}B", target="x").text == "{0} A{}B {a"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": -1}, "field 'id': .* got -1"),
        ({"id": "7"}, "field 'id': .* got '7'"),
        ({"subject": " "}, "field 'subject': expected non-empty text, got ' '"),
        ({"target_new": ""}, "field 'target_new'"),
        ({"target_true": None}, "field 'target_true': .* got None"),
        ({"prompt": "Lyon is in"}, "field 'prompt': expected exactly one '{}' .* found 0"),
        ({"prompt": "{} and {} are in"}, "expected exactly one '{}' .* found 2"),
        ({"prompt": "Not Lyon but {} is in"}, "'Lyon' must occur exactly once .* found 2 times"),
        ({"paraphrases": ("fine", "")}, r"field 'paraphrases\[1\]'"),
    ],
)
def test_a_bad_request_is_refused(changes, message):
    fields = {name: getattr(EXAMPLE, name) for name in EXAMPLE.__dataclass_fields__}
    with pytest.raises(RequestError, match=message):
        Request(**(fields | changes))


# --- the file format ---------------------------------------------------------------------------

words = st.text(st.characters(codec="utf-8", exclude_characters="{}"), min_size=1).filter(str.strip)


@st.composite
def drawn_requests(draw):
    neighbors = st.lists(
        st.one_of(
            st.builds(Neighbor, prompt=words, subject=st.none(), target=st.text()),
            st.builds(Neighbor, prompt=words.map("{{}} {}".format), subject=words, target=words),
        ),
        max_size=3,
    ).map(tuple)
    ids = draw(st.lists(st.integers(0, 10**6), unique=True, max_size=4))
    return [
        Request(
            id=id,
            subject=f"<{draw(words)}>",
            prompt="{} is in",
            target_new=draw(words),
            target_true=draw(words),
            paraphrases=tuple(draw(st.lists(words, max_size=2))),
            neighbors=draw(neighbors),
            editing_neighbors=draw(neighbors),
            relation=draw(st.text()),
        )
        for id in ids
    ]


@given(drawn_requests())
def test_what_is_written_is_read_back(tmp_path_factory, requests):
    path = tmp_path_factory.mktemp("requests") / "requests.jsonl"
    write_requests(path, requests)
    assert read_requests(path) == requests
    assert path.read_bytes().count(b"\n") == len(requests)


def test_writing_makes_folders_replaces_whole_files_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "new" / "requests.jsonl"
    write_requests(path, [EXAMPLE])
    before = path.read_bytes()

    def broken():
        yield EXAMPLE
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_requests(path, broken())
    with pytest.raises(RequestError, match="record 2: id 7 occurs twice"):
        write_requests(path, [EXAMPLE, EXAMPLE])
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["requests.jsonl"]


def test_text_is_written_readably(tmp_path):
    path = tmp_path / "requests.jsonl"
    fields = {name: getattr(EXAMPLE, name) for name in EXAMPLE.__dataclass_fields__}
    write_requests(path, [Request(**(fields | {"target_new": "Perú"}))])
    assert "Perú" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda r: r.pop("target_new"), "field 'target_new': missing"),
        (lambda r: r.update(color="red"), "unknown field 'color'; known: id, subject"),
        (lambda r: r.update(id=True), "field 'id': expected a whole number, got True"),
        (lambda r: r.update(neighbors="x"), "field 'neighbors': expected a list, got 'x'"),
        (lambda r: r["neighbors"].append(3), r"field 'neighbors\[2\]': expected an object, got 3"),
        (lambda r: r["neighbors"][0].pop("target"), r"field 'neighbors\[0\].target': missing"),
        (lambda r: r["neighbors"][0].update(subject=4), r"'neighbors\[0\].subject': .* got 4"),
        (lambda r: r["neighbors"][0].update(prompt="no slot"), r"in neighbors\[0\]: .* found 0"),
    ],
)
def test_a_bad_line_is_named(tmp_path, damage, message):
    path = tmp_path / "requests.jsonl"
    write_requests(path, [EXAMPLE])
    good = path.read_text(encoding="utf-8")
    record = json.loads(good) | {"id": 8}
    damage(record)
    path.write_text(good + json.dumps(record) + "\n", encoding="utf-8")
    with pytest.raises(RequestError, match=f"requests.jsonl, record 2: .*{message}"):
        read_requests(path)


def test_a_line_that_is_not_json_and_an_id_twice_are_named(tmp_path):
    path = tmp_path / "requests.jsonl"
    path.write_text("{'id': 1}\n", encoding="utf-8")
    with pytest.raises(FileError, match="record 1: not JSON"):
        read_requests(path)
    write_requests(path, [EXAMPLE])
    path.write_text(path.read_text(encoding="utf-8") * 2, encoding="utf-8")
    with pytest.raises(RequestError, match="record 2: field 'id': 7 occurs twice"):
        read_requests(path)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from([*Request.__dataclass_fields__, "color"]),
            st.recursive(
                st.none() | st.integers() | st.text(max_size=3),
                lambda inner: (
                    st.lists(inner, max_size=2)
                    | st.dictionaries(st.sampled_from(["prompt", "subject", "target"]), inner)
                ),
                max_leaves=3,
            ),
        )
        | st.integers(),
        max_size=2,
    ),
    st.binary(max_size=5),
)
def test_any_lines_are_requests_or_refused_by_name(tmp_path_factory, records, more):
    sound = json.loads(json.dumps(asdict(EXAMPLE)))
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    lines = [sound, *(sound | r if isinstance(r, dict) else r for r in records)]
    path.write_bytes("".join(json.dumps(line) + "\n" for line in lines).encode() + more)
    try:
        assert read_requests(path)[0] == EXAMPLE
    except FileError as error:
        assert str(path) in str(error)


# --- CounterFact -------------------------------------------------------------------------------


def test_counterfact_record(tmp_path):
    (request,) = read_counterfact(dump(tmp_path / "cf.json", [counterfact_record()]))
    assert request == Request(
        id=3,
        subject="Mount Murphy",
        prompt="{}, in",
        target_new="Africa",
        target_true="Antarctica",
        paraphrases=("It rained. Mount Murphy belongs to", "{x} Mount Murphy is in"),
        neighbors=(
            Neighbor("{} is in", "Ross Island", "Antarctica"),
            # Its sample fills to another text (no apostrophe), so the text is kept whole.
            Neighbor("'Adud Bay, in", None, "Antarctica"),
        ),
        relation="P30",
    )


def test_counterfact_without_samples_keeps_the_texts(tmp_path):
    record = counterfact_record()
    del record["neighborhood_samples"]
    (request,) = read_counterfact(dump(tmp_path / "cf.json", [record]))
    assert [n.subject for n in request.neighbors] == [None, None]
    assert [n.text for n in request.neighbors] == record["neighborhood_prompts"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"case_id": "3a"}, "field 'case_id': expected a whole number from 0 to .*, got '3a'"),
        ({"requested_rewrite": None}, "field 'requested_rewrite': expected an object, got None"),
        ({"requested_rewrite": {}}, "field 'requested_rewrite.target_new': missing"),
        ({"paraphrase_prompts": [1]}, r"field 'paraphrase_prompts\[0\]': .* got 1"),
        ({"neighborhood_samples": []}, "'neighborhood_samples': 0 entries for 2"),
    ],
)
def test_a_bad_counterfact_record_is_named(tmp_path, changes, message):
    path = dump(tmp_path / "cf.json", [counterfact_record(**changes)])
    with pytest.raises(RequestError, match=rf"cf.json, record 1 \(id .*\): .*{message}"):
        read_counterfact(path)


def test_a_repeated_case_id_and_a_file_of_another_shape_are_named(tmp_path):
    path = dump(tmp_path / "cf.json", [counterfact_record(), counterfact_record()])
    with pytest.raises(RequestError, match=r"record 2 \(id 3\): .*3 occurs already in record 1"):
        read_counterfact(path)
    with pytest.raises(RequestError, match="expected a list of records, got one object"):
        read_counterfact(dump(path, {}))
    with pytest.raises(RequestError, match="no known form .the first one has 'x'"):
        read_counterfact(dump(path, ["x"]))
    path.write_text("[", encoding="utf-8")
    with pytest.raises(RequestError, match="cf.json, line 1, column 2: not JSON: .*cut off"):
        read_counterfact(path)


# --- neighbor-eligible files -------------------------------------------------------------------


def test_eligible_record(tmp_path):
    (request,) = read_eligible(dump(tmp_path / "el.json", [eligible_record()]))
    assert request.prompt == "{}, by"
    assert request.text == "LinkedIn, by"
    assert (request.target_new, request.target_true) == ("Indianapolis", "Microsoft")
    assert request.editing_neighbors == (Neighbor("{} is owned by", "Bing", "Microsoft"),)
    assert request.neighbors == (Neighbor("Skype is owned by", None, "Microsoft"),)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": "LinkedIn, not LinkedIn, by"}, "field 'prompt': .*'LinkedIn' .* found 2"),
        ({"subject": "Yammer"}, "field 'prompt': .*'Yammer' .* found 0"),
        ({"locality": {}}, "field 'locality.neighborhood': missing"),
        (
            {"locality": {"neighborhood": {"prompt": ["a"], "ground_truth": []}}},
            "'locality.neighborhood.ground_truth': 0 entries for 1 prompts",
        ),
        ({"neighborhood_samples": ["x"]}, r"'neighborhood_samples\[0\]': .* got 'x'"),
        (
            {"neighborhood_samples": [{"subject": "a", "prompt": "b"}]},
            r"in neighborhood_samples\[0\]: .* found 0",
        ),
    ],
)
def test_a_bad_eligible_record_is_named(tmp_path, changes, message):
    path = dump(tmp_path / "el.json", [eligible_record(), eligible_record(**changes)])
    with pytest.raises(RequestError, match=rf"el.json, record 2 \(id 0\): .*{message}"):
        read_eligible(path)


# --- zsRE --------------------------------------------------------------------------------------


def test_zsre_record(tmp_path, tokenizer):
    records = [zsre_record(), zsre_record(loc_ans="night")]
    first, second = read_zsre(dump(tmp_path / "zsre.json", records))
    assert (first.id, second.id) == (0, 1)
    assert first.prompt == "The designer for {} was?"
    assert first.target_new == "Daniel Libeskind"
    assert first.target_true == NO_TRUE_OBJECT == "<|endoftext|>"
    assert first.paraphrases == ("What architect did Life Electric design?",)


def test_zsre_locality_is_one_question(tmp_path):
    (request,) = read_zsre(dump(tmp_path / "zsre.json", [zsre_record()]))
    (neighbor,) = request.neighbors
    assert neighbor.text == "nq question: who sang the theme song?"
    assert neighbor.target == "Gladys Knight" and neighbor.subject is None


ANSWERS = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=20)


@given(answer=ANSWERS.filter(lambda text: NO_TRUE_OBJECT not in text))  # it is left out, E.2
def test_zsre_locality_in_pieces_gives_back_the_answer(tokenizer, answer):
    question = "nq question: who sang the theme song?"
    found = locality_pieces(Neighbor(question, None, answer), tokenizer)
    pieces = [n.target for n in found]
    assert "".join(pieces) == answer
    assert len(pieces) == len(tokenizer.encode(answer, add_special_tokens=False))
    assert [n.text for n in found] == [question + "".join(pieces[:j]) for j in range(len(pieces))]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answers": []}, "field 'answers': empty list"),
        ({"loc": " "}, "field 'loc': expected non-empty text"),
        ({"loc_ans": ""}, "field 'loc_ans': expected non-empty text"),
        ({"subject": "Life"}, None),
        ({"src": "Who designed it?"}, "field 'src': .*'Life Electric' .* found 0"),
        ({"rephrase": 5}, "field 'rephrase': expected text, got 5"),
    ],
)
def test_a_bad_zsre_record_is_named(tmp_path, changes, message):
    path = dump(tmp_path / "zsre.json", [zsre_record(**changes)])
    if message is None:
        assert read_zsre(path)[0].prompt == "The designer for {} Electric was?"
        return
    with pytest.raises(RequestError, match=f"zsre.json, record 1: {message}"):
        read_zsre(path)


def test_me_ppl_keeps_leading_spaces(tmp_path):
    path = dump(tmp_path / "t.json", [{"Corpus": "C4", "Text": " It rained."}, {"Text": "Yes."}])
    assert read_me_ppl(path) == [" It rained.", "Yes."]
    with pytest.raises(RequestError, match="t.json, record 2: field 'Text': missing"):
        read_me_ppl(dump(path, [{"Text": "a"}, {"Corpus": "C4"}]))


# --- the published data (SPEC E, facts marked [V]) -----------------------------------------------


@needs_data
def test_published_counterfact():
    trials = [read_counterfact(DATA / f"counterfact/random_subset_{n}.json") for n in (1, 10, 15)]
    assert [len(trial) for trial in trials] == [1000, 1000, 1000]
    for a, b in combinations(trials, 2):
        assert not {r.id for r in a} & {r.id for r in b}
        assert not {(r.subject, r.prompt) for r in a} & {(r.subject, r.prompt) for r in b}
    requests = [r for trial in trials for r in trial]
    assert all(len(r.paraphrases) == 2 and len(r.neighbors) == 10 for r in requests)
    whole = [r.id for r in requests for n in r.neighbors if n.subject is None]
    assert whole == [14291, 18795]
    after = [len(r.prompt.split("{}")[1].split()) for r in requests]
    assert min(after) == 1
    assert sum(bool(r.prompt.split("{}")[0]) for r in requests) == 543
    assert not any(" " in r.target_new or " " in r.target_true for r in requests)
    texts = [t for r in requests for t in (*r.paraphrases, *(n.text for n in r.neighbors))]
    assert sum("{" in t for t in texts) == 6
    assert sum("\n" in p for r in requests for p in r.paraphrases) == 1059


@needs_data
@pytest.mark.parametrize(("count", "mean"), [(739, 1.37), (960, 3.03), (1340, 3.57)])
def test_published_eligible_files(count, mean):
    requests = read_eligible(DATA / f"neighbors/random_subset_{count}.json")
    assert len(requests) == count
    assert all(len(r.editing_neighbors) == 1 and len(r.neighbors) >= 1 for r in requests)
    assert all(n.target == r.target_true for r in requests for n in r.neighbors)
    assert sum(len(r.neighbors) for r in requests) / count == pytest.approx(mean, abs=0.005)
    if count == 739:
        assert sum(len(r.neighbors) == 1 for r in requests) == 558


@needs_data
def test_published_zsre():
    trials = [read_zsre(DATA / f"zsre/random_subset_{n}.json") for n in (0, 10, 15)]
    assert [len(trial) for trial in trials] == [1000, 1000, 1000]
    requests = [r for trial in trials for r in trial]
    assert len({r.text for r in requests}) == 3000
    assert all(r.target_true == "<|endoftext|>" and r.neighbors for r in requests)
    words = [len(r.target_new.split()) for r in requests]
    assert [words.count(1), words.count(2), words.count(3)] == [1456, 901, 487]
    assert sum(r.prompt.endswith("{}?") for r in requests) == 1012


@needs_data
def test_published_me_ppl():
    texts = read_me_ppl(DATA / "ME-PPL_50.json")
    lengths = [len(text.split()) for text in texts]
    assert len(texts) == 50
    assert (min(lengths), max(lengths)) == (11, 45)
    assert sum(lengths) / 50 == pytest.approx(21.7, abs=0.05)
    assert sum(text.startswith(" ") for text in texts) == 40


@needs_data
def test_published_requests_survive_the_file_format(tmp_path):
    for name, requests in {
        "cf": read_counterfact(DATA / "counterfact/random_subset_1.json"),
        "el": read_eligible(DATA / "neighbors/random_subset_739.json"),
        "zsre": read_zsre(DATA / "zsre/random_subset_0.json"),
    }.items():
        write_requests(tmp_path / name, requests)
        assert read_requests(tmp_path / name) == requests
