"""Which files of a local folder a model is read from."""

from pathlib import Path

WEIGHTS = (".safetensors", ".bin")
NAMES = (
    "config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "model.safetensors.index.json",
    "pytorch_model.bin.index.json",
)


def model_files(folder: Path) -> list[Path]:
    """Files of a transformers folder that decide what is prepared from it, by name.

    Others, like a README, may come and go.
    """
    return sorted(p for p in folder.iterdir() if p.name in NAMES or p.suffix in WEIGHTS)
