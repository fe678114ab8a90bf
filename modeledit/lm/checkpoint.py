"""A model as somebody brings it: nothing of it is taken for granted.

transformers loads what it can. It draws a matrix at random that a checkpoint lacks, leaves out one
that it does not know, and stops with its own words at a file that is cut off. Here the files are
looked at before they are loaded, and what was loaded afterwards; each refusal is one line with all
that is wrong.
"""

import functools
import json
import pickle
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import gguf
import torch
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from modeledit.lm.model import ModelError, unsupported
from modeledit.study.architectures import ARCHITECTURES

CONFIG = "config.json"
WHOLE = {"safetensors": "model.safetensors", "torch": "pytorch_model.bin"}
OTHER = {"safetensors": "torch", "torch": "safetensors"}
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
)
_POINTER = b"version https://git-lfs.github.com/spec/"
_NAMED = 6  # tensors that a line names of each kind
# The causal mask, which older checkpoints of GPT-2, GPT-J and GPT-NeoX hold for every block.
_MASKS = re.compile(r"(^|\.)(attn|attention)\.(masked_)?bias$")


def check_files(folder: Path, weights: str) -> None:
    """Look at the files of a transformers folder: `weights` is "safetensors" or "torch".

    Raises ModelError, with all that is wrong, where one is absent, cut off or a Git LFS pointer,
    where the weights are of the other format or quantised, and for a family that is not supported.
    """
    if problems := [*_config_problems(folder), *_weight_problems(folder, weights)]:
        raise refusal(folder, problems)


def refusal(where: Path, problems: Iterable[str]) -> ModelError:
    """The error with all `problems` of the model at `where`."""
    return ModelError(f"{where}: {'; '.join(problems)}")


def gguf_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a GGUF file. Raises ModelError for a file that is not one, or not whole."""
    with path.open("rb") as stream:
        start = stream.read(4)
    if start != b"GGUF":
        raise refusal(path, [_pointer_problem(path) or "not a GGUF file"])
    with _refusing(path):
        return AutoTokenizer.from_pretrained(
            path.parent, trust_remote_code=False, gguf_file=path.name
        )


@contextmanager
def parsed_once() -> Iterator[None]:
    """In this block a GGUF file is parsed once, and its table of names made once.

    transformers asks for the file with the tokenizer, the configuration and the weights, and for
    the table with each module of the model; a file with 50,000 tokens takes seconds each time.
    """
    names = ("GGUFReader", "get_tensor_name_map")
    before = {name: getattr(gguf, name) for name in names}
    try:
        for name, made in before.items():
            setattr(gguf, name, functools.cache(made))
        yield
    finally:
        for name, made in before.items():
            setattr(gguf, name, made)


def _pointer_problem(path: Path) -> str | None:
    with path.open("rb") as stream:
        if stream.read(len(_POINTER)) != _POINTER:
            return None
    return f"{path.name} is a Git LFS pointer, not the file itself: run 'git lfs pull' there"


def _config_problems(folder: Path) -> Iterator[str]:
    if not folder.is_dir():
        yield "no such folder"
        return
    for name in TOKENIZER_FILES:
        if (folder / name).is_file() and (problem := _pointer_problem(folder / name)):
            yield problem
    config = folder / CONFIG
    if not config.is_file():
        yield f"no {CONFIG} there"
        return
    try:
        options = json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        yield _pointer_problem(config) or f"{CONFIG} cannot be read, is it cut off? ({error})"
        return
    kind = options.get("model_type") if isinstance(options, dict) else None
    if kind not in ARCHITECTURES:
        yield unsupported(kind)
        return
    if quantised := options.get("quantization_config"):
        how = quantised.get("quant_method", "unknown") if isinstance(quantised, dict) else quantised
        yield (
            f"its weights are quantised ({how}), and an edit is written into plain matrices: take "
            "the model that this one was made from"
        )


def _weight_problems(folder: Path, weights: str) -> Iterator[str]:
    files, missing = weight_files(folder, weights)
    if missing:
        yield f"not there: {', '.join(missing)}, which {WHOLE[weights]}.index.json names"
    for path in files:
        if problem := _pointer_problem(path) or _cut_off(path, weights):
            yield problem
    if files or missing or not folder.is_dir():
        return
    other = OTHER[weights]
    if weight_files(folder, other)[0]:
        yield (
            f"its weights are {WHOLE[other]} alone: say 'weights: {other}' under 'source' in the "
            "model's description"
        )
    elif (folder / "adapter_config.json").is_file():
        yield "an adapter, not a model: merge it into its base model first"
    else:
        yield f"no {WHOLE[weights]} there; was it copied to the end?"


def weight_files(folder: Path, weights: str) -> tuple[list[Path], list[str]]:
    """The files that hold the weights, in order, and the names of shards that are not there.

    Where there is a single file, it is that one, as transformers has it.
    """
    whole = folder / WHOLE[weights]
    index = folder / f"{WHOLE[weights]}.index.json"
    if whole.is_file() or not index.is_file():
        return ([whole] if whole.is_file() else []), []
    try:
        shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError):
        return [], [f"the shards' names ({index.name} cannot be read, is it cut off?)"]
    files = [folder / name for name in shards]
    return [f for f in files if f.is_file()], [f.name for f in files if not f.is_file()]


def _cut_off(path: Path, weights: str) -> str | None:
    """What is wrong with a file of weights as a whole; its tensors are not read."""
    if weights == "safetensors":
        try:
            with safe_open(path, framework="pt"):
                return None
        except SafetensorError as error:
            return f"{path.name} is not whole, copy it again ({error})"
    with path.open("rb") as stream:
        zipped = stream.read(2) == b"PK"
    if (zipped and not zipfile.is_zipfile(path)) or path.stat().st_size == 0:
        return f"{path.name} is not whole, copy it again"
    return None


def load_checkpoint(origin: Path, weights: str) -> tuple[PreTrainedModel, list[str]]:
    """The model of a folder, or of a GGUF file, in float32, and what is wrong with its tensors.

    Every tensor of the model has to come from the checkpoint, every tensor of the checkpoint has to
    go into the model, in its shape, and all numbers have to be finite. Raises ModelError where
    transformers cannot load it at all.
    """
    source = origin
    place: dict[str, Any] = {"use_safetensors": weights == "safetensors"}
    if origin.suffix == ".gguf":
        source, place = origin.parent, {"gguf_file": origin.name}
    with _refusing(origin):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            source,
            dtype=torch.float32,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are among what was found
            **place,
        )
        model, found = loaded  # a pair, with the loading info
    if origin.suffix == ".gguf":
        return model, [*_name_problems(found, {}), *_infinite(model, {})]
    held = _held_by(weight_files(origin, weights)[0], weights)
    return model, [*_name_problems(found, held), *_infinite(model, held)]


@contextmanager
def _refusing(origin: Path) -> Iterator[None]:
    """Turn what comes of files that a loader did not expect into a refusal of one line."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except pickle.UnpicklingError as error:
        why = (
            "its weights are not whole, or hold more than tensors, which is not read (weights only)"
        )
        raise refusal(origin, [why]) from error
    except Exception as error:
        first = (str(error).strip().splitlines() or ["no reason given"])[0]
        why = f"transformers cannot load it: {type(error).__name__}: {first}"
        raise refusal(origin, [why]) from error


def _held_by(files: Iterable[Path], weights: str) -> dict[str, str]:
    """Names of the tensors of safetensors files, each with its file's; of others nothing."""
    held: dict[str, str] = {}
    for path in files if weights == "safetensors" else ():
        with safe_open(path, framework="pt") as stream:
            held |= dict.fromkeys(stream.keys(), path.name)
    return held


def _named(names: Iterable[str], held: Mapping[str, str]) -> str:
    """The first few names, the files that hold them, and how many more there are.

    A checkpoint may have been saved without the prefix of the model below its head.
    """
    names = sorted(names)
    files = {
        file
        for name in names
        for file in (held.get(name), held.get(name.partition(".")[2]))
        if file is not None
    }
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    where = f" (in {', '.join(sorted(files))})" if files else ""
    return ", ".join(names[:_NAMED]) + more + where


def _name_problems(found: Mapping[str, Any], held: Mapping[str, str]) -> Iterator[str]:
    """Tensors that are missing, unexpected or of another shape, of what transformers `found`."""
    if missing := found["missing_keys"]:
        yield f"tensors that the checkpoint lacks: {_named(missing, {})}"
    if unexpected := [name for name in found["unexpected_keys"] if not _MASKS.search(name)]:
        yield f"tensors that the model has no place for: {_named(unexpected, held)}"
    if mismatched := found["mismatched_keys"]:
        shapes = {
            f"{name} {tuple(theirs)}, not {tuple(ours)}": held.get(name)
            for name, theirs, ours in mismatched
        }
        yield f"tensors of another shape: {_named(shapes, {k: v for k, v in shapes.items() if v})}"
    for message in found.get("error_msgs") or ():
        yield message.strip().splitlines()[0]
    if missing or unexpected or mismatched:
        yield "bring the checkpoint as save_pretrained of the whole model writes it"


def _infinite(model: PreTrainedModel, held: Mapping[str, str]) -> Iterator[str]:
    bad = [
        name
        for name, tensor in model.named_parameters()  # each once, also where two are tied
        if not torch.isfinite(tensor).all()
    ]
    if bad:
        yield f"tensors with values that are not finite: {_named(bad, held)}; take another copy"


def vocabulary_problems(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rowless: tuple[str, ...]
) -> Iterator[str]:
    """Tokens whose ids the embedding has no row for, but for the marks named `rowless`."""
    rows = cast(torch.nn.Embedding, model.get_input_embeddings()).weight.shape[0]
    vocabulary = tokenizer.get_vocab()
    beyond = [t for t, i in vocabulary.items() if i >= rows and t not in rowless]
    if beyond:
        beyond.sort(key=vocabulary.__getitem__)
        more = f" and {len(beyond) - _NAMED} more" if len(beyond) > _NAMED else ""
        yield (
            f"the embedding has {rows} rows, the tokenizer has ids up to "
            f"{max(vocabulary.values())}: {', '.join(map(repr, beyond[:_NAMED]))}{more} without a "
            "row; take the tokens out of the tokenizer's files, or bring the model that was "
            "trained with them"
        )
