"""Prepare a model once: a float32 safetensors folder, its tokenizer, and a record of digests."""

import importlib.metadata
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from modeledit.files import file_digest, write_json
from modeledit.models import EditableModel


def prepare_folder(origin: Path, folder: Path) -> dict:
    """Write `origin`, a GGUF file or a transformers folder, as float32 safetensors into `folder`.

    A GGUF file is dequantised here, once: reading it takes far longer than reading safetensors.
    Returns what prepared.json records. Raises ModelError for an unsupported architecture.
    """
    if origin.suffix == ".gguf":
        place: dict = {"gguf_file": origin.name}
        source = origin.parent
    else:
        place, source = {"use_safetensors": True}, origin
    loaded = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, **place)
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config  # the weights are no longer quantised
    EditableModel(loaded)  # refuses what the engine cannot edit
    clean = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    clean.load_state_dict(loaded.state_dict())
    clean.save_pretrained(folder)
    place.pop("use_safetensors", None)
    AutoTokenizer.from_pretrained(source, **place).save_pretrained(folder)
    record = {
        "origin": origin.name,
        "origin_sha256": file_digest(origin) if origin.is_file() else None,
        "weights_sha256": file_digest(folder / "model.safetensors"),
        "parameters": clean.num_parameters(),
        "transformers": importlib.metadata.version("transformers"),
    }
    write_json(folder / "prepared.json", record)
    return record
