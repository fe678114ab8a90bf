"""What people bring as models is prepared as it is, or refused in one line that says why."""

import json
import shutil

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import processors

from modeledit.lm.model import ModelError, load_model
from modeledit.lm.prepare import prepare_folder
from modeledit.lm.tokenizer import TokenizerError
from modeledit.study.models import ModelShape
from tests.reference import models as tiny

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0a1b2c\nsize 123456\n"
DOWN = "model.layers.1.mlp.down_proj.weight"


@pytest.fixture
def origin(tmp_path):
    """A folder as a tiny Llama would be published."""
    folder = tmp_path / "origin"
    tiny.tiny_llama().save_pretrained(folder)
    tiny.tiny_tokenizer(bos=True).save_pretrained(folder)
    return folder


@pytest.fixture
def sharded(tmp_path):
    folder = tmp_path / "sharded"
    tiny.tiny_llama().save_pretrained(folder, max_shard_size="50KB")
    tiny.tiny_tokenizer(bos=True).save_pretrained(folder)
    return folder


def refused(origin, weights="safetensors", error=ModelError):
    """The one line that refuses `origin`; nothing of a folder is left."""
    made = origin.parent / "made"
    with pytest.raises(error) as raised:
        prepare_folder(origin, made, weights=weights)
    line = str(raised.value)
    assert line.startswith(str(origin)) and "\n" not in line
    assert not made.exists() and not list(origin.parent.glob(".made*"))
    return line


def change_tensors(folder, change):
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def change_config(folder, **options):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | options))


# Tensors


def test_a_head_that_is_not_there_is_named(origin):
    change_tensors(origin, lambda t: {k: v for k, v in t.items() if k != "lm_head.weight"})
    assert "tensors that the checkpoint lacks: lm_head.weight" in refused(origin)


def test_every_problem_of_the_tensors_is_in_the_line(origin):
    """Missing, unexpected, of another shape and not finite, and another size than described."""

    def change(tensors):
        tensors["model.norm.weight"] = torch.ones(7)
        tensors[DOWN][3, 2] = torch.nan
        tensors["model.layers.9.extra"] = tensors.pop("model.layers.0.mlp.up_proj.weight")
        return tensors

    change_tensors(origin, change)
    with pytest.raises(ModelError) as error:
        shape = ModelShape(family="llama", depth=6, width=32, mlp_width=64)
        prepare_folder(origin, origin.parent / "made", shape)
    assert str(error.value) == (
        f"{origin}: depth: the description says 6, the model has 5; "
        "tensors that the checkpoint lacks: model.layers.0.mlp.up_proj.weight; "
        "tensors that the model has no place for: model.layers.9.extra (in model.safetensors); "
        "tensors of another shape: model.norm.weight (7,), not (32,) (in model.safetensors); "
        "bring the checkpoint as save_pretrained of the whole model writes it; "
        f"tensors with values that are not finite: {DOWN} (in model.safetensors); take another copy"
    )


def test_names_of_a_compiled_model_are_refused(origin):
    change_tensors(origin, lambda tensors: {f"_orig_mod.{k}": v for k, v in tensors.items()})
    line = refused(origin)
    assert "the checkpoint lacks: lm_head.weight, model.embed_tokens.weight" in line
    assert "no place for: _orig_mod.lm_head.weight" in line and "and 42 more" in line


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_named_with_their_shard(sharded, value):
    index = json.loads((sharded / "model.safetensors.index.json").read_text())["weight_map"]
    shard = sharded / index[DOWN]
    tensors = load_file(shard)
    tensors[DOWN][0, 0] = value
    save_file(tensors, shard, metadata={"format": "pt"})
    assert f"not finite: {DOWN} (in {index[DOWN]})" in refused(sharded)


def test_a_checkpoint_without_the_prefix_of_the_model_is_the_same_model(tmp_path):
    """GPT-2 was published so, with a causal mask in every block."""
    folder = tmp_path / "origin"
    model = tiny.tiny_gpt2()
    model.save_pretrained(folder)
    tiny.tiny_tokenizer().save_pretrained(folder)
    whole = prepare_folder(folder, tmp_path / "whole")

    def change(tensors):
        bare = {name.removeprefix("transformer."): value for name, value in tensors.items()}
        masks = {f"h.{i}.attn.bias": torch.ones(1, 1, 256, 256).tril() for i in range(5)}
        return bare | masks

    change_tensors(folder, change)
    again = prepare_folder(folder, tmp_path / "bare")
    assert again.weights_sha256 == whole.weights_sha256


def test_masks_of_a_gptj_checkpoint_are_no_weights(tmp_path):
    folder = tmp_path / "origin"
    tiny.tiny_gptj().save_pretrained(folder)
    tiny.tiny_tokenizer().save_pretrained(folder)
    whole = prepare_folder(folder, tmp_path / "whole")

    def change(tensors):
        masks = {f"transformer.h.{i}.attn.bias": torch.ones(1, 1, 4, 4) for i in range(5)}
        other = {f"transformer.h.{i}.attn.masked_bias": torch.tensor(-1e9) for i in range(5)}
        return tensors | masks | other

    change_tensors(folder, change)
    again = prepare_folder(folder, tmp_path / "masked")
    assert again.weights_sha256 == whole.weights_sha256


def test_a_tied_head_may_be_in_the_file_too(tmp_path):
    """Qwen3 is published so; a head that is not the embedding after all is not overwritten."""
    folder = tmp_path / "origin"
    tiny.tiny_qwen3().save_pretrained(folder)
    tiny.tiny_tokenizer().save_pretrained(folder)
    whole = prepare_folder(folder, tmp_path / "whole")
    embedding = "model.embed_tokens.weight"
    change_tensors(folder, lambda t: t | {"lm_head.weight": t[embedding].clone()})
    again = prepare_folder(folder, tmp_path / "both")
    assert again.weights_sha256 == whole.weights_sha256


# Files


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"]
)
def test_a_pointer_is_named(origin, name):
    (origin / name).write_text(POINTER)
    line = refused(origin)
    assert f"{name} is a Git LFS pointer, not the file itself: run 'git lfs pull' there" in line


def test_every_shard_that_is_not_whole_is_named(sharded):
    shards = sorted(sharded.glob("model-*.safetensors"))
    shards[0].write_text(POINTER)
    shards[1].write_bytes(shards[1].read_bytes()[:-10])
    shards[2].unlink()
    line = refused(sharded)
    assert f"not there: {shards[2].name}, which model.safetensors.index.json names" in line
    assert f"{shards[0].name} is a Git LFS pointer" in line
    assert f"{shards[1].name} is not whole, copy it again" in line


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("config.json", "config.json cannot be read, is it cut off?"),
        ("model.safetensors.index.json", "index.json cannot be read, is it cut off?"),
    ],
)
def test_json_that_is_cut_off_is_named(sharded, name, said):
    text = (sharded / name).read_text()
    (sharded / name).write_text(text[: len(text) // 2])
    assert said in refused(sharded)


def test_a_tokenizer_that_is_cut_off_is_named(origin):
    text = (origin / "tokenizer.json").read_text()
    (origin / "tokenizer.json").write_text(text[: len(text) // 2])
    assert "tokenizer.json: cannot be read, is it cut off?" in refused(origin, error=TokenizerError)


def test_a_folder_that_was_not_copied_to_the_end_says_so(origin):
    (origin / "model.safetensors").unlink()
    assert "no model.safetensors there; was it copied to the end?" in refused(origin)
    (origin / "config.json").unlink()
    line = refused(origin)
    assert "no config.json there" in line and "no model.safetensors there" in line
    (origin / "adapter_config.json").write_text("{}")
    assert "an adapter, not a model: merge it into its base model first" in refused(origin)
    shutil.rmtree(origin)
    assert refused(origin) == f"{origin}: no such folder"


def test_the_other_format_is_named_with_what_to_write(origin):
    torch.save(tiny.tiny_llama().state_dict(), origin / "pytorch_model.bin")
    (origin / "model.safetensors").unlink()
    assert "pytorch_model.bin alone: say 'weights: torch' under 'source'" in refused(origin)
    whole = (origin / "pytorch_model.bin").read_bytes()
    (origin / "pytorch_model.bin").write_bytes(whole[: len(whole) // 2])
    assert "pytorch_model.bin is not whole, copy it again" in refused(origin, "torch")
    (origin / "pytorch_model.bin").write_text(POINTER)
    assert "pytorch_model.bin is a Git LFS pointer" in refused(origin, "torch")


def test_a_gguf_file_that_is_none_is_named(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_text(POINTER)
    assert "is a Git LFS pointer" in refused(path)
    path.write_text("something else")
    assert refused(path).endswith("not a GGUF file")
    path.write_bytes(b"GGUF\x03\x00")
    assert refused(path)


def rotated(matrix, heads):
    """Rows of q or k as a GGUF file has them: the halves of each head's rows interleaved."""
    rows = matrix.shape[0] // heads // 2
    return matrix.reshape(heads, 2, rows, -1).swapaxes(1, 2).reshape(matrix.shape)


GGUF_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def write_gguf(path, model, tokenizer):
    """A tiny Llama as llama.cpp would write it, in float32."""
    config, writer = model.config, gguf.GGUFWriter(path, "llama")
    backend = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(sorted(backend["vocab"], key=backend["vocab"].get))
    writer.add_token_merges([" ".join(merge) for merge in backend["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    for name, tensor in model.state_dict().items():
        array = tensor.numpy()
        if name.startswith("model.layers."):
            _, _, layer, part = name.removesuffix(".weight").split(".", 3)
            array = rotated(array, heads[part[-6:]]) if part[-6:] in heads else array
            named = f"blk.{layer}.{GGUF_NAMES[part]}"
        else:
            outer = {"model.embed_tokens": "token_embd", "model.norm": "output_norm"}
            named = outer.get(name.removesuffix(".weight"), "output")
        writer.add_tensor(f"{named}.weight", np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_file_is_parsed_once_and_prepared_as_it_is(tmp_path, monkeypatch):
    original, path, parsed = tiny.tiny_llama(), tmp_path / "tiny.gguf", []
    write_gguf(path, original, tiny.tiny_tokenizer())
    reader = gguf.GGUFReader
    monkeypatch.setattr(gguf, "GGUFReader", lambda *a: parsed.append(a) or reader(*a))
    record = prepare_folder(path, tmp_path / "made")
    assert len(parsed) == 1
    found, _ = load_model(tmp_path / "made")
    expected = original.state_dict()
    assert record.parameters == original.num_parameters()
    assert found.model.state_dict().keys() == expected.keys()
    for name, tensor in found.model.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    gguf.GGUFReader(path)  # as it was before
    assert len(parsed) == 2


# What the engine cannot edit


@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes", "fp8"])
def test_quantised_weights_are_refused_and_no_package_is_recommended(origin, method):
    change_config(origin, quantization_config={"quant_method": method, "bits": 4})
    line = refused(origin)
    assert f"its weights are quantised ({method})" in line
    assert "take the model that this one was made from" in line and "pip" not in line


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("bloom", "model_type 'bloom' is not supported: attention is biased by distance (ALiBi)"),
        ("gemma3", "its text-only models the model_type is gemma3_text"),
        ("mixtral", "each token has experts of its own"),
        ("their_own", "model_type 'their_own' is not supported; supported are: falcon, gemma2"),
        (None, "model_type 'None' is not supported; supported are: falcon"),
    ],
)
def test_other_families_are_refused_by_name(origin, kind, said):
    change_config(origin, model_type=kind)
    assert said in refused(origin)


def test_code_beside_a_model_is_neither_run_nor_asked_about(origin, monkeypatch, tmp_path):
    """A family that is known needs none; another one is refused before anybody asks for it."""
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question on the terminal"))
    (origin / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    auto = {name: f"own.{name}" for name in ("AutoConfig", "AutoModelForCausalLM")}
    change_config(origin, auto_map=auto)
    tokens = origin / "tokenizer_config.json"
    own = {"auto_map": {"AutoTokenizer": ["own.T", None]}}
    tokens.write_text(json.dumps(json.loads(tokens.read_text()) | own))
    prepare_folder(origin, tmp_path / "made-as-known")
    change_config(origin, model_type="their_own")
    assert "trust_remote_code" not in refused(origin)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: tiny.tiny_falcon(alibi=True), "alibi is True: attention is biased by distance"),
        (
            lambda: tiny.tiny_opt(do_layer_norm_before=False),
            "do_layer_norm_before is False: a block's output is normalised after",
        ),
        (
            lambda: tiny.tiny_gemma3(use_bidirectional_attention=True),
            "use_bidirectional_attention is True: tokens see those that follow them",
        ),
        (
            lambda: tiny.tiny_opt(word_embed_proj_dim=16),
            "its embedding is 16 wide, its blocks are 32",
        ),
    ],
)
def test_options_that_make_another_architecture_are_named(tmp_path, build, said):
    folder = tmp_path / "origin"
    build().save_pretrained(folder)
    tiny.tiny_tokenizer().save_pretrained(folder)
    with pytest.raises(ModelError) as error:
        prepare_folder(folder, tmp_path / "made")
    assert str(error.value).startswith(f"{folder}: ") and said in str(error.value)


# The tokenizer


def test_ids_without_a_row_in_the_embedding_are_refused(origin):
    tokenizer = tiny.tiny_tokenizer(bos=True)
    tokenizer.add_tokens(["Qxyz", "Wxyz"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<mark>"]})
    tokenizer.save_pretrained(origin)
    assert (
        "the embedding has 420 rows, the tokenizer has ids up to 422: 'Qxyz', 'Wxyz', '<mark>' "
        "without a row" in refused(origin)
    )


def test_the_image_mark_of_gemma_may_lack_its_row(tmp_path):
    """Its family's description names it; in a text it is refused when it is embedded."""
    folder, tokenizer = tmp_path / "origin", tiny.tiny_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image_soft_token>"]})
    tokenizer.save_pretrained(folder)
    tiny.tiny_gemma3().save_pretrained(folder)
    record = prepare_folder(folder, tmp_path / "made")
    assert record.agreement.largest_difference < 1e-3


def test_a_tokenizer_that_ends_every_text_with_a_mark_is_refused(origin):
    tokenizer = tiny.tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {tiny.EOS}", special_tokens=[(tiny.EOS, tokenizer.eos_token_id)]
    )
    tokenizer.save_pretrained(origin)
    assert "take the end mark out" in refused(origin, error=TokenizerError)


# What a killed preparation leaves


def test_what_a_killed_preparation_left_is_gone_after_the_next(origin, tmp_path):
    left = tmp_path / ".made.part"
    left.mkdir()
    (left / "model.safetensors").write_text("half")
    prepare_folder(origin, tmp_path / "made")
    assert not left.exists()
    assert (tmp_path / "made" / "prepared.json").is_file()
