"""Prepare a model once: a float32 safetensors folder, its tokenizer, and a record of digests."""

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from modeledit.io.files import digest, file_digest, write_json
from modeledit.lm.model import EditableModel, ModelError
from modeledit.lm.tokenizer import FILE, check_answers, load_tokenizer


def prepare_folder(
    origin: Path,
    folder: Path,
    expected: Mapping | None = None,
    weights: str = "safetensors",
) -> dict:
    """Write `origin`, a GGUF file or a transformers folder, as float32 safetensors into `folder`.

    A GGUF file is dequantised here, once: reading it takes far longer than reading safetensors. A
    folder's weights are "safetensors" or "torch" (pytorch_model.bin, read by torch's weights-only
    loader). `expected` is what the model's description says: family, depth, width, mlp_width.
    Returns what prepared.json records. Raises ModelError, before anything is written, for an
    unsupported architecture or a model that is not the expected one, and TokenizerError unless the
    written tokenizer answers like the origin's file (like the conversion of a GGUF file's).
    """
    if origin.suffix == ".gguf":
        place: dict = {"gguf_file": origin.name}
        source = origin.parent
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False, **place)
    else:
        place, source = {"use_safetensors": weights == "safetensors"}, origin
        tokenizer = load_tokenizer(origin)
    model = AutoModelForCausalLM.from_pretrained(
        source, dtype=torch.float32, trust_remote_code=False, **place
    )
    editable = EditableModel(model)  # refuses what the engine cannot edit
    if expected is not None:
        _compare(editable, expected, origin)
    if hasattr(model.config, "quantization_config"):
        # The weights are no longer quantised, but transformers refuses to save this model: a second
        # one with the same weights is needed, and memory for both.
        del model.config.quantization_config
        state = model.state_dict()
        model = AutoModelForCausalLM.from_config(model.config, dtype=torch.float32)
        model.load_state_dict(state)
    # Published sampling settings would change the contexts (SPEC A.3).
    model.generation_config = GenerationConfig.from_model_config(model.config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    check_answers(load_tokenizer(folder), lambda text: tokenizer(text)["input_ids"], origin)
    record = {
        "origin": origin.name,
        "origin_sha256": file_digest(origin) if origin.is_file() else None,
        "weights_sha256": weights_digest(folder),
        "tokenizer_sha256": file_digest(folder / FILE),
        "parameters": model.num_parameters(),
        "transformers": importlib.metadata.version("transformers"),
    }
    write_json(folder / "prepared.json", record)
    return record


def _compare(model: EditableModel, expected: Mapping, origin: Path) -> None:
    width, mlp_width = model.down_weight(0).shape
    found = {
        "family": model.model.config.model_type,
        "depth": model.depth,
        "width": width,
        "mlp_width": mlp_width,
    }
    wrong = [
        f"{field}: the description says {expected[field]}, the model has {value}"
        for field, value in found.items()
        if expected[field] != value
    ]
    if wrong:
        raise ModelError(f"{origin}: {'; '.join(wrong)}")


def weights_digest(folder: Path) -> str:
    """sha256 of model.safetensors; of a sharded model, of its shards' names and their sha256."""
    files = {path.name: file_digest(path) for path in folder.glob("model*.safetensors")}
    return files["model.safetensors"] if len(files) == 1 else digest(files)
