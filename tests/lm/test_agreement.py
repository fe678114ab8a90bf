"""The proof that the engine answers as transformers does, and that it notices when it does not."""

from dataclasses import replace

import pytest
import torch

from modeledit.io.prepared import read_prepared
from modeledit.lm.agreement import LONG, by_transformers, compare, in_parts, probe_rows
from modeledit.lm.model import EditableModel, ModelError, load_model
from modeledit.lm.prepare import prepare_folder
from modeledit.lm.tokens import Row
from modeledit.lm.trees import label_outputs
from modeledit.study import architectures
from tests.reference import models as tiny

BUILD = {"llama": tiny.tiny_llama, "gpt2": tiny.tiny_gpt2, "gptj": tiny.tiny_gptj} | tiny.FURTHER


@pytest.fixture(scope="module")
def tokenizer():
    return tiny.tiny_tokenizer()


@pytest.mark.parametrize("family", BUILD)
def test_a_prepared_model_answers_as_transformers_does(family, tokenizer, tmp_path):
    """Both ways of the engine: whole rows in a tree, and rows on a kept prefix."""
    origin, made = tmp_path / "origin", tmp_path / "made"
    BUILD[family]().save_pretrained(origin)
    tokenizer.save_pretrained(origin)
    record = prepare_folder(origin, made)
    assert read_prepared(made) == record
    assert record.agreement.largest_difference < 1e-3
    lengths = {len(row) for row in probe_rows(tokenizer)}
    assert len(lengths) > 4 and max(lengths) == LONG
    expected = sum(len(row) - 1 for row in probe_rows(tokenizer))
    assert record.agreement.log_probabilities == expected


# What the description of a family has to say, each left out once.
LEFT_OUT = {
    "mistral": {"windows": "none"},
    "qwen2": {"windows": "none"},
    "phi3": {"windows": "none"},
    "gemma2": {"caps_logits": False},
    "gemma3": {"windows": "none"},
}


@pytest.mark.parametrize("family", LEFT_OUT)
def test_what_a_description_leaves_out_is_noticed(family, tokenizer, tmp_path, monkeypatch):
    origin, made = tmp_path / "origin", tmp_path / "made"
    model = BUILD[family]()
    model.save_pretrained(origin)
    tokenizer.save_pretrained(origin)
    kind = model.config.model_type
    wrong = replace(architectures.ARCHITECTURES[kind], **LEFT_OUT[family])
    monkeypatch.setitem(architectures.ARCHITECTURES, kind, wrong)
    with pytest.raises(ModelError, match=r"disagree about this \w+ model: .* by up to \d"):
        prepare_folder(origin, made)
    assert not made.exists() and not list(tmp_path.glob(".made*"))


def test_a_difference_of_one_token_and_one_that_is_no_number_are_refused(tokenizer):
    model = EditableModel(tiny.tiny_llama())
    rows = probe_rows(tokenizer)
    expected = by_transformers(model.model, rows)
    assert compare(model, rows, expected).largest_difference < 1e-3
    for wrong in (0.02, torch.nan):
        other = [values.clone() for values in expected]
        other[1][0] += wrong
        with pytest.raises(ModelError, match="by up to (0.02|nan), more than 0.01"):
            compare(model, rows, other)


def test_a_wrong_prefix_is_noticed(tokenizer, monkeypatch):
    """Trees alone do not see what is kept of a prefix."""
    model = EditableModel(tiny.tiny_gemma2())
    rows = probe_rows(tokenizer)
    expected = by_transformers(model.model, rows)
    right = in_parts(model, rows)
    monkeypatch.setattr("modeledit.lm.model._within", lambda mask, positions, window: mask)
    assert float((torch.cat(right) - torch.cat(in_parts(model, rows))).abs().max()) > 0.1
    monkeypatch.undo()
    compare(model, rows, expected)


def ids(n, seed=0):
    return torch.randint(2, 420, (n,), generator=torch.Generator().manual_seed(seed)).tolist()


@pytest.mark.parametrize("family", ["mistral", "qwen2", "phi3", "gemma2", "gemma3"])
@pytest.mark.parametrize("length", [5, 6, 7, 40])
def test_windows_are_those_of_transformers_at_their_borders(family, length):
    """Texts of fewer tokens than the window, as many, one more, and many more."""
    model = EditableModel(BUILD[family](dtype=torch.float32))
    rows = [ids(length + 1), ids(length + 1)[:4] + ids(length, 1)]
    right = by_transformers(model.model, rows)
    for row, expected in zip(rows, right, strict=True):
        (found,) = label_outputs(model, [Row(tuple(row[:-1]), tuple(row[1:]))], 4096)
        torch.testing.assert_close(found.log_p, expected, rtol=1e-4, atol=1e-4)
    for values, expected, row in zip(in_parts(model, rows), right, rows, strict=True):
        torch.testing.assert_close(values, expected[len(row) // 2 :], rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("family", BUILD)
def test_left_padding_moves_those_whose_description_says_so(family):
    """As the released code evaluates: an attention mask, and no positions (I14)."""
    model, row = BUILD[family](), ids(9)
    alone = model(input_ids=torch.tensor([row])).logits[0]
    padded = model(
        input_ids=torch.tensor([[0] * 5 + row]),
        attention_mask=torch.tensor([[0] * 5 + [1] * len(row)]),
    ).logits[0, 5:]
    moved = not torch.allclose(alone, padded, rtol=1e-3, atol=1e-3)
    assert moved == EditableModel(model).counts_padding == (family == "gpt2")


DYNAMIC = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10_000.0}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10_000.0,
    "factor": 4.0,
    "short_factor": [1.0] * 4,
    "long_factor": [2.0] * 4,
    "original_max_position_embeddings": 32,
}


@pytest.mark.parametrize(
    ("model", "longest", "why"),
    [
        (
            lambda: tiny.tiny_llama(max_position_embeddings=32, rope_parameters=DYNAMIC),
            32,
            "type 'dynamic'",
        ),
        (
            lambda: tiny.tiny_phi3(
                sliding_window=None,
                max_position_embeddings=128,
                original_max_position_embeddings=32,
                rope_parameters=LONGROPE,
            ),
            32,
            "type 'longrope'",
        ),
        (tiny.tiny_gpt2, 256, "an embedding for each position"),
        (tiny.tiny_opt, 256, "an embedding for each position"),
        (tiny.tiny_gptj, 256, "no more positions"),
    ],
)
def test_texts_beyond_what_positions_allow_are_refused(model, longest, why, tokenizer):
    """Up to there the numbers are those of transformers; the probes are no longer than that."""
    editable = EditableModel(model())
    rows = [ids(longest), ids(longest // 2, 1)]
    compare(editable, rows, by_transformers(editable.model, rows))
    too_long = ids(longest + 1)
    row = Row(tuple(too_long), tuple(too_long[-1:]))
    with pytest.raises(ModelError, match=f"a text of {longest + 1} tokens is longer .*{why}"):
        label_outputs(editable, [row], 4096)
    assert max(map(len, probe_rows(tokenizer, editable.limit))) == min(longest, LONG)


def test_an_id_that_the_embedding_lacks_is_named():
    model = EditableModel(tiny.tiny_llama())
    with pytest.raises(ModelError, match="token id 420 has no row in the embedding, which has 420"):
        label_outputs(model, [Row((5, 420), (7,))], 4096)


# Bytes


def test_a_folder_that_was_copied_in_part_is_named(tokenizer, tmp_path):
    origin, made = tmp_path / "origin", tmp_path / "made"
    tiny.tiny_llama().save_pretrained(origin)
    tokenizer.save_pretrained(origin)
    prepare_folder(origin, made)
    names = sorted(path.name for path in made.iterdir() if not path.name.startswith("."))
    assert names.index("model.safetensors") < names.index("prepared.json")
    for number, last in enumerate(names[: names.index("tokenizer.json") + 1]):
        half = tmp_path / f"half{number}"
        half.mkdir()
        for name in names[:number]:
            (half / name).write_bytes((made / name).read_bytes())
        whole = (made / last).read_bytes()
        (half / last).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ValueError) as error:
            load_model(half)
        said = str(error.value)
        assert said.startswith(str(half)) and "\n" not in said, last


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_byte_that_flipped_is_noticed_when_the_model_is_loaded(name, tokenizer, tmp_path):
    origin, made = tmp_path / "origin", tmp_path / "made"
    tiny.tiny_llama().save_pretrained(origin)
    tokenizer.save_pretrained(origin)
    prepare_folder(origin, made)
    load_model(made)
    data = bytearray((made / name).read_bytes())
    data[-100] ^= 1
    (made / name).write_bytes(data)
    with pytest.raises(ModelError) as error:
        load_model(made)
    assert str(error.value) == (
        f"{made}: no longer what was prepared (sha256): {name}; delete the folder to prepare the "
        "model again"
    )
