"""Tokenizers answer like their files, whatever class a folder names."""

import json
import random
from pathlib import Path

import pytest
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from tokenizers import processors
from transformers import AutoTokenizer

from modeledit.data.geography import build_requests
from modeledit.fetch.wheel import fetch_member
from modeledit.io.files import read_json
from modeledit.lm.prepare import prepare_folder
from modeledit.lm.tokenizer import PROBES, TokenizerError, from_sentencepiece, load_tokenizer
from modeledit.lm.tokens import Tokenization, encode, target_row
from tests.reference import models as tiny

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def real_model(tmp_path_factory):
    """Mistral's first tokenizer: SentencePiece BPE with byte fallback, of Llama's kind."""
    folder = tmp_path_factory.mktemp("package")
    member = "mistral_common/data/tokenizer.model.v1"
    return fetch_member(ROOT / "envs/test_files.txt", member, folder)


@pytest.fixture(scope="module")
def real_folder(real_model, tmp_path_factory):
    """The real tokenizer as Llama-2 is published: tokenizer.json, and a class that changes it."""
    folder = tmp_path_factory.mktemp("real")
    (folder / "model").mkdir()
    (folder / "model" / "tokenizer.model").write_bytes(real_model.read_bytes())
    load_tokenizer(folder / "model").save_pretrained(folder)
    settings = read_json(folder / "tokenizer_config.json")
    settings |= {"tokenizer_class": "LlamaTokenizer", "legacy": False}
    settings |= {"add_bos_token": True, "add_eos_token": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def pieces(tokenizer, text):
    return tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])


def test_a_leading_space_stays_a_token_of_its_own(real_folder):
    assert pieces(load_tokenizer(real_folder), " Apple") == ["<s>", "▁", "▁Apple"]
    # what the class that the folder names makes of the same file
    assert pieces(AutoTokenizer.from_pretrained(real_folder), " Apple") == ["<s>", "▁Apple"]


def test_the_real_tokenizer_answers_like_sentencepiece(real_model, real_folder):
    processor = SentencePieceProcessor(model_file=str(real_model))
    tokenizer = load_tokenizer(real_folder)
    facts = build_requests(seed=42)[:300]
    texts = [*PROBES, *(f"{r.text} {r.target_new}" for r in facts), *(r.subject for r in facts)]
    draw = random.Random(0)
    alphabet = " \n\tabcXYZ019.,;-'\"()éßñšŽαжשع中日本한\U0001f600\u2581\x01"
    texts += ["".join(draw.choices(alphabet, k=draw.randint(1, 40))) for _ in range(2000)]
    for text in texts:
        assert encode(tokenizer, text) == [processor.bos_id(), *processor.encode(text)], text


def test_legacy_targets_have_the_mark_and_the_decoder_drops_it(real_folder):
    """I11, I13: " Apple" alone is two labels, the first on the last prompt token but one."""
    tokenizer = load_tokenizer(real_folder)
    legacy = target_row(
        tokenizer, "The phone is made by", "Apple", tokenization=Tokenization("legacy")
    )
    assert tokenizer.convert_ids_to_tokens(legacy.labels) == ["▁", "▁Apple"]
    prompt = encode(tokenizer, "The phone is made by")
    assert list(legacy.ids) == prompt and legacy.first_label == len(prompt) - 2
    follows = target_row(tokenizer, "The phone is made by", "Apple")
    assert tokenizer.convert_ids_to_tokens(follows.labels) == ["▁Apple"]
    # MEMIT's text keeps the space in front of a word's second piece; PMET's glues the first one on
    spaced = target_row(tokenizer, "born in", "Indianapolis", tokenization=Tokenization("legacy"))
    glued = target_row(
        tokenizer, "born in", "Indianapolis", tokenization=Tokenization("legacy", space=False)
    )
    assert tokenizer.decode(spaced.ids, skip_special_tokens=True) == "born in Indian"
    assert tokenizer.decode(glued.ids, skip_special_tokens=True) == "born inIndian"


@pytest.mark.parametrize("only", ["tokenizer.json", "tokenizer.model"])
def test_a_prepared_model_keeps_its_tokenizer(real_model, real_folder, tmp_path, only):
    origin, made = tmp_path / "origin", tmp_path / "made"
    model = tiny.tiny_llama()
    model.resize_token_embeddings(32000)
    model.save_pretrained(origin)
    if only == "tokenizer.model":
        (origin / only).write_bytes(real_model.read_bytes())
    else:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (origin / name).write_bytes((real_folder / name).read_bytes())
    record = prepare_folder(origin, made)
    assert record.tokenizer_sha256
    processor = SentencePieceProcessor(model_file=str(real_model))
    for tokenizer in (load_tokenizer(made), AutoTokenizer.from_pretrained(made)):
        for text in PROBES:
            assert tokenizer(text)["input_ids"] == [1, *processor.encode(text)], text


def test_a_disagreement_shows_the_string_and_both_answers(real_folder, tmp_path):
    """A token that only tokenizer_config.json adds: the loaded tokenizer is not the file's."""
    origin = tmp_path / "origin"
    tiny.tiny_llama().save_pretrained(origin)
    (origin / "tokenizer.json").write_bytes((real_folder / "tokenizer.json").read_bytes())
    settings = read_json(real_folder / "tokenizer_config.json")
    token = {"content": "Apple", "lstrip": False, "rstrip": False, "normalized": False}
    token |= {"single_word": False, "special": False}
    settings["added_tokens_decoder"] = {"32000": token}
    (origin / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(TokenizerError) as error:
        prepare_folder(origin, tmp_path / "made")
    for part in ("tokenizer.json: for 'Apple'", "[1, 32000]", "['<s>', '▁Apple']"):
        assert part in str(error.value)
    assert not (tmp_path / "made").exists()


def test_a_mark_behind_a_text_is_refused(tmp_path):
    tokenizer = tiny.tiny_tokenizer()
    end = tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, tokenizer.eos_token_id)]
    )
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(TokenizerError, match=r"<\|endoftext\|>'\] of 'Apple'"):
        load_tokenizer(tmp_path)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(TokenizerError, match="no tokenizer.json there, no tokenizer.model"):
        load_tokenizer(tmp_path)


def test_a_sentencepiece_model_of_another_kind_is_refused(tmp_path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text(tiny.TEXT)
    SentencePieceTrainer.train(
        input=str(corpus),
        model_prefix=str(tmp_path / "tokenizer"),
        vocab_size=100,
        model_type="unigram",
        minloglevel=2,
    )
    with pytest.raises(TokenizerError, match="not of the kind that can be converted"):
        from_sentencepiece(tmp_path / "tokenizer.model")
