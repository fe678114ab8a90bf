"""Covariances on disk: gathered over many articles, resumable, or published by others.

A covariance file carries its recipe as metadata: the model's digest and revision, the source, the
dump, the number of articles and of tokens taken of each, the layers, the type. Whoever reads it
names the recipe that is wanted, and a file of another one is refused, partial sums included.
"""

import logging
import math
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from modeledit.data.wikipedia import read_sample, sample_articles
from modeledit.editing.covariance import KeySums
from modeledit.editing.covariance_error import CHECK_EVERY, LEAST_TEXTS, ErrorEstimate
from modeledit.editing.factors import CovarianceError
from modeledit.editing.matrix_names import layer_name
from modeledit.io.files import FileError, read_texts
from modeledit.io.log import progress
from modeledit.io.matrices import describe_matrices, read_matrices, write_matrices
from modeledit.io.seals import check_seal
from modeledit.lm.model import EditableModel, ModelError
from modeledit.study.config import FAST_TOKENS

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reading:
    """What is read of the texts: keys of `layers`, `max_length` tokens of each text.

    It ends with the texts, at `most_tokens`, or where the relative error, estimated every
    CHECK_EVERY texts, is at most `tolerance`. `expected` is how many texts there are, for the
    progress line.
    """

    layers: list[int]
    max_length: int
    most_tokens: int | None = None
    expected: int | None = None
    tolerance: float | None = None


@dataclass(frozen=True)
class Partial:
    """Where sums on the way are written, atomically, and after how many texts each time."""

    path: Path
    every: int


def gather(
    model: EditableModel,
    tokenizer: PreTrainedTokenizerBase,
    texts_from: Callable[[int], Iterable[str]],
    reading: Reading,
    recipe: Mapping[str, str],
    saved: Partial,
) -> KeySums:
    """Sum the keys of the texts that `texts_from(0)` gives, going on from the sums that are saved.

    `texts_from(n)` leaves out the first n texts. A run that was killed goes on at its last sums and
    ends with the numbers of one that was not: to the byte on the same model of CPU, to rounding on
    a GPU. Raises StateError where they are of another recipe.
    """
    layers, partial = reading.layers, saved.path
    most_tokens, expected = reading.most_tokens, reading.expected
    sums = KeySums(layers, None if reading.tolerance is None else ErrorEstimate())
    resume(sums, partial, recipe, model.device)
    unit, total = ("text", expected) if most_tokens is None else ("token", most_tokens)
    with progress(total, unit) as bar:
        bar.initial = bar.n = sums.texts if most_tokens is None else sums.tokens
        texts = texts_from(sums.texts)
        for done in sums.add_texts(model, tokenizer, texts, reading.max_length, most_tokens):
            bar.update((done if most_tokens is None else sums.tokens) - bar.n)
            # Before saving: a run that goes on from what is saved has looked there already.
            if done % CHECK_EVERY == 0 and _suffices(sums, reading.tolerance, bar):
                break
            if done % saved.every == 0:
                save(sums, partial, recipe)
    if most_tokens is not None and sums.tokens < most_tokens:
        raise CovarianceError(
            f"{sums.texts} texts have {sums.tokens} tokens, {most_tokens} are needed; take more "
            "articles"
        )
    return sums


def _suffices(sums: KeySums, tolerance: float | None, bar: tqdm) -> bool:
    """Whether the estimated error, which the progress line then shows, is at most `tolerance`."""
    if sums.error is None or tolerance is None:
        return False
    error = sums.error.relative()
    bar.set_postfix_str(f"error {error:.1%}", refresh=False)
    return sums.texts >= LEAST_TEXTS and error <= tolerance


def save(sums: KeySums, path: Path, recipe: Mapping[str, str]) -> None:
    """Write partial sums with their recipe and position, atomically."""
    totals = {layer_name(layer): total.cpu().numpy() for layer, total in sums.totals.items()}
    position = {"position": np.array([sums.texts, sums.tokens])}
    error = sums.error.arrays() if sums.error is not None else {}
    write_matrices(path, totals | position | error, recipe)


def resume(sums: KeySums, path: Path, recipe: Mapping[str, str], device: torch.device) -> None:
    """Have `sums` go on from the partial sums in `path`, if there are any."""
    if not path.exists():
        return
    arrays = read_matrices(path, recipe)
    if sums.error is not None:
        sums.error.restore(arrays, sums.layers, device)
    sums.totals = {i: torch.from_numpy(arrays[layer_name(i)]).to(device) for i in sums.layers}
    sums.texts, sums.tokens = arrays["position"].tolist()
    log.info("going on after %d texts, %d tokens", sums.texts, sums.tokens)


def covariance_of(
    model: EditableModel,
    tokenizer: PreTrainedTokenizerBase,
    paths: Sequence[Path],
    layers: Sequence[int],
    recipe: Mapping[str, str],
    saved: Partial,
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """C_l by `layer{l}` as `recipe` says (`Inventory.covariance_recipe`), and what it is made of.

    `paths` are the excerpt's articles, or parts of a dump in parquet files, of which the recipe's
    seed draws. "fast" stops at FAST_TOKENS for each row of the key; with a `tolerance` the texts
    end where the estimated error keeps it, and `error` and `texts` say what came of it.
    """
    longest, source = _longest(model, recipe["max_length"]), recipe["source"]
    tolerance = float(recipe["tolerance"]) if "tolerance" in recipe else None
    if source == "embedded":
        texts: Sequence = read_texts(paths[0])
    else:
        count = int(recipe["articles"]) if source == "recompute" else None
        texts = sample_articles(paths, count, int(recipe["seed"]), tolerance is not None)
    most_tokens = None
    if source == "fast":
        most_tokens = FAST_TOKENS * model.down_weight(layers[0]).shape[1]
        log.warning("source fast: %d tokens only, a rough covariance", most_tokens)
    sums = gather(
        model,
        tokenizer,
        lambda n: texts[n:] if source == "embedded" else read_sample(paths, texts[n:]),
        Reading(list(layers), longest, most_tokens, len(texts), tolerance),
        recipe,
        saved,
    )
    log.info("%d tokens of %d texts", sums.tokens, sums.texts)
    matrices = {layer_name(layer): matrix.numpy() for layer, matrix in sums.moments().items()}
    said = {**recipe, "tokens": str(sums.tokens)}
    if sums.error is not None and tolerance is not None:
        error = sums.error.relative()
        said |= {"texts": str(sums.texts), "error": f"{error:.4g}"}
        log.info("estimated relative error of the covariance: %.4g", error)
        if error > tolerance:
            log.warning(
                "all %d texts leave an error of %.4g, covariance.tolerance is %g: take more texts",
                sums.texts,
                error,
                tolerance,
            )
    return matrices, said


def gathered_already(
    paths: Iterable[Path], layers: Sequence[int], recipe: Mapping[str, str]
) -> tuple[Path, dict[str, np.ndarray], dict[str, str]] | None:
    """The first of `paths` that holds the covariance of `layers` by `recipe`, what is in it and
    what it says of itself; None where none does.

    A file of more layers will do: what a layer's keys are does not depend on those behind it. Not
    so with a tolerance, which counts on all of them. One that is broken is passed over.
    """
    wanted = {layer_name(layer) for layer in layers}
    same = dict(recipe)
    if "tolerance" not in recipe:
        del same["layers"]
    for path in paths:
        try:
            check_seal(path)
            described = describe_matrices(path, same)
            if not wanted <= described.shapes.keys():
                continue
            return path, read_matrices(path, same, sorted(wanted)), described.plain | dict(recipe)
        except FileError:
            continue
    return None


def _longest(model: EditableModel, length: str) -> int:
    """Tokens that are taken of a text; "context" are as many as the model sees."""
    limit = model.limit
    if length == "context":
        context = model.model.config.max_position_embeddings
        return min(context, limit.tokens) if limit else context
    if limit and int(length) > limit.tokens:
        raise ModelError(
            f"config: covariance.length or text.covariance_length = {length}: more than "
            f"{limit.tokens} tokens: {limit.why}; allowed: at most {limit.tokens}"
        )
    return int(length)


def published_covariance(
    paths: Mapping[int, Path], width: int, recipe: Mapping[str, str]
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """C_l by `layer{l}` from a published file for each layer, and what it is made of.

    Raises CovarianceError as `read_published` does, and where the layers are of different numbers
    of tokens.
    """
    matrices, counts = {}, {}
    for layer, path in paths.items():
        matrices[layer_name(layer)], counts[layer] = read_published(path, width)
        log.info("layer %d: %d tokens", layer, counts[layer])
    if len(set(counts.values())) != 1:
        raise CovarianceError(
            "the layers' covariances are of different numbers of tokens, "
            f"{', '.join(f'{counts[layer]} ({path})' for layer, path in paths.items())}; fetch "
            "them again"
        )
    return matrices, {**recipe, "tokens": str(next(iter(counts.values())))}


def read_published(path: Path, width: int) -> tuple[np.ndarray, int]:
    """C_l (width, width) in float32 and the number of tokens behind it, from a published file.

    The format of ROME, MEMIT and the paper's authors: an npz with the sum of k k^T as `mom2.mom2`
    and the number of tokens as `mom2.count`. Nothing in it is unpickled. Raises CovarianceError
    naming the file where it is anything else.
    """
    if not zipfile.is_zipfile(path):
        raise CovarianceError(f"{path}: not an npz file")
    with np.load(path, allow_pickle=False) as archive:
        total, count = (_member(archive, name, path) for name in ("mom2", "count"))
    if total.shape != (width, width):
        raise CovarianceError(
            f"{path}: the sum has shape {total.shape}, the model's keys need ({width}, {width}); "
            "is it another model's?"
        )
    # What the file has is a sum: it takes this number to make a mean of it, and the cut of a null
    # space, like SPREAD's lambda, is for means.
    if count.size != 1 or count.dtype.kind not in "iuf" or not 1 <= count.item() < math.inf:
        raise CovarianceError(
            f"{path}: the number of tokens is {count}, expected one from 1 on: without it the sum "
            "of k k^T cannot be made a mean; fetch the file again, or gather the covariance with "
            "covariance.source: recompute"
        )
    diagonal = np.diagonal(total)
    if not (np.isfinite(total).all() and (diagonal > 0).all()):
        raise CovarianceError(f"{path}: the sum has values that no second moment has")
    return (total / count.item()).astype(np.float32, copy=False), int(count.item())


def _member(archive: Mapping[str, np.ndarray], name: str, path: Path) -> np.ndarray:
    """The array `mom2.{name}` or `{name}` of an npz file."""
    key = next((key for key in (f"mom2.{name}", name) if key in archive), None)
    if key is None:
        raise CovarianceError(
            f"{path}: no mom2.{name} in it, only {', '.join(archive)}; fetch the file again"
        )
    try:
        return archive[key]
    except (ValueError, zipfile.BadZipFile) as error:
        raise CovarianceError(f"{path}: {key} is no array of numbers: {error}") from error
