"""Prepare a model once: a float32 safetensors folder, its tokenizer, and a record of digests."""

import importlib.metadata
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedModel,
)

from modeledit.io.files import file_digest, writing
from modeledit.io.prepared import PreparedModel, file_digests, weights_digest, write_prepared
from modeledit.lm.agreement import by_transformers, compare, probe_rows
from modeledit.lm.checkpoint import (
    check_files,
    gguf_tokenizer,
    load_checkpoint,
    parsed_once,
    refusal,
    vocabulary_problems,
)
from modeledit.lm.model import EditableModel, ModelError, load_model
from modeledit.lm.tokenizer import FILE, check_answers, load_tokenizer
from modeledit.study.models import ModelShape


def prepare_folder(
    origin: Path,
    folder: Path,
    expected: ModelShape | None = None,
    weights: str = "safetensors",
) -> PreparedModel:
    """Write `origin`, a GGUF file or a transformers folder, as float32 safetensors into `folder`.

    A GGUF file is dequantised here, once: reading it takes far longer than reading safetensors. A
    folder's weights are "safetensors" or "torch" (pytorch_model.bin, read by torch's weights-only
    loader). `expected` is what the model's description says: family, depth, width, mlp_width.
    Returns what prepared.json records. `folder` is whole or absent. Raises ModelError for files
    that are not whole, tensors that are missing, unexpected or not finite, a model that is not the
    expected one or that the engine cannot edit, ids without a row in the embedding, and where the
    engine answers otherwise than transformers (`modeledit.lm.agreement`); TokenizerError unless the
    written tokenizer answers like the origin's file (like the conversion of a GGUF file's).
    """
    with parsed_once():
        if origin.suffix == ".gguf":
            tokenizer = gguf_tokenizer(origin)
        else:
            check_files(origin, weights)
            tokenizer = load_tokenizer(origin)
        model, problems = load_checkpoint(origin, weights)
    try:
        editable = EditableModel(model)
    except ModelError as error:  # the engine cannot edit it
        raise refusal(origin, [str(error), *problems]) from error
    if expected is not None:
        problems = [*_differences(editable, expected), *problems]
    problems += vocabulary_problems(model, tokenizer, editable.architecture.rowless_marks)
    if problems:
        raise refusal(origin, problems)
    rows = probe_rows(tokenizer, editable.limit)
    answers = by_transformers(model, rows)
    model = _plain(model)
    with finished_folder(folder) as place:
        model.save_pretrained(place)
        tokenizer.save_pretrained(place)
        parameters = model.num_parameters()
        del model, editable  # a large model is not twice in memory
        again, own = load_model(place)
        check_answers(own, lambda text: tokenizer(text)["input_ids"], origin)
        agreement = compare(again, rows, answers)
        files = file_digests(place)
        record = PreparedModel(
            origin=origin.name,
            origin_sha256=file_digest(origin) if origin.is_file() else None,
            weights_sha256=weights_digest(files),
            tokenizer_sha256=files[FILE],
            files_sha256=files,
            agreement=agreement,
            parameters=parameters,
            transformers=importlib.metadata.version("transformers"),
        )
        write_prepared(place, record)
    return record


def _plain(model: PreTrainedModel) -> PreTrainedModel:
    """The model without what a GGUF file says of its quantisation, and sampling settings.

    Its weights are no longer quantised, but transformers refuses to save it: a second one is made
    around the same tensors, without memory of its own. It is good for saving alone: buffers that
    are not saved are empty. Published sampling settings would change the contexts (SPEC A.3).
    """
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
        state = model.state_dict()
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(
                model.config, dtype=torch.float32, trust_remote_code=False
            )
        model.load_state_dict(state, assign=True)
        model.tie_weights()
    model.generation_config = GenerationConfig.from_model_config(model.config)
    return model


def _differences(model: EditableModel, expected: ModelShape) -> list[str]:
    width, mlp_width = model.down_weight(0).shape
    found = {
        "family": model.family,
        "depth": model.depth,
        "width": width,
        "mlp_width": mlp_width,
    }
    return [
        f"{field}: the description says {getattr(expected, field)}, the model has {value}"
        for field, value in found.items()
        if getattr(expected, field) != value
    ]


@contextmanager
def finished_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder beside `folder`, which takes its place once the block has ended well.

    What a killed process left of it is removed when the next one begins.
    """
    with writing(folder), emptied(folder.with_name(f".{folder.name}.part")) as place:
        yield place
        if folder.is_dir():
            shutil.rmtree(folder)
        os.replace(place, folder)


@contextmanager
def emptied(folder: Path) -> Iterator[Path]:
    """An empty `folder` for the time of the block; what an earlier one left there is removed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
