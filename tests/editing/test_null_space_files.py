"""Null spaces on disk: what is written, what is refused before, and what a reader takes."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from modeledit.editing.covariance import mean_squares, second_moments
from modeledit.editing.factors import CovarianceError
from modeledit.editing.null_space import null_space
from modeledit.editing.null_space_files import (
    FURTHEST,
    LazyNullSpaces,
    cut_metadata,
    find_null_spaces,
)
from modeledit.evaluation.schemas import NULL_SPACES, SPECTRA
from modeledit.io.files import StateError
from modeledit.io.frames import write_csv
from modeledit.io.matrices import DIGEST, describe_matrices, write_matrices
from modeledit.lm.model import EditableModel
from modeledit.study.hyperparameters import Cut
from tests.reference.models import tiny_contexts, tiny_gpt2, tiny_tokenizer

D_MLP, LAYERS = 20, [3, 5]
BASE = {"base": "abc"}
FEW, MANY = Cut(kind="rank", value=4), Cut(kind="rank", value=15)


def covariance(seed: int) -> np.ndarray:
    """A second moment with the eigenvalues 1, 2, ... D_MLP."""
    random = torch.Generator().manual_seed(seed)
    turn, _ = torch.linalg.qr(torch.randn(D_MLP, D_MLP, generator=random, dtype=torch.float64))
    found = turn @ torch.diag(torch.arange(1.0, D_MLP + 1, dtype=torch.float64)) @ turn.T
    return ((found + found.T) / 2).numpy()


COVARIANCES = {layer: covariance(layer) for layer in LAYERS}
TRACE = D_MLP * (D_MLP + 1) / 2
SQUARES = dict.fromkeys(LAYERS, TRACE)


def found(cut, covariances=COVARIANCES, squares=SQUARES):
    return find_null_spaces(covariances, squares, cut, "cpu")


def written(path: Path, cut=MANY, **more):
    spaces = found(cut)
    write_matrices(path, spaces.matrices, BASE | spaces.metadata | more)
    return spaces


@pytest.mark.parametrize(("cut", "complement"), [(FEW, False), (MANY, True)])
def test_what_is_read_is_what_was_found(tmp_path, cut, complement):
    path = tmp_path / "null_spaces.safetensors"
    written(path, cut)
    read = LazyNullSpaces(path, BASE | cut_metadata(cut), LAYERS, D_MLP)
    assert list(read) == LAYERS and len(read) == 2
    for layer, null in read.items():
        expected = null_space(torch.from_numpy(COVARIANCES[layer]), cut)
        assert (null.rank, null.complement) == (cut.value, complement)
        assert torch.equal(null.basis, expected.basis)
        assert torch.equal(null.eigenvalues, expected.eigenvalues)
        assert null.basis.shape[1] == min(cut.value, D_MLP - cut.value)


def test_the_file_says_what_it_was_made_of(tmp_path):
    """The digest of a covariance is the one that its own file has of it."""
    path, source = tmp_path / "null_spaces.safetensors", tmp_path / "covariance.safetensors"
    written(path, Cut(kind="threshold", value=10.5))
    write_matrices(source, {f"layer{i}": c for i, c in COVARIANCES.items()}, BASE)
    says = describe_matrices(path, {"cut": "threshold", "cut_value": "10.5"}).metadata
    of_source = describe_matrices(source, BASE).metadata
    for layer in LAYERS:
        assert says[f"covariance{layer}"] == of_source[f"{DIGEST}layer{layer}"]
        assert (says[f"rank{layer}"], says[f"complement{layer}"]) == ("10", "false")
    before = path.read_bytes()
    written(path, Cut(kind="threshold", value=10.5))
    assert path.read_bytes() == before


def test_the_summary_has_ranks_and_what_leaks(tmp_path):
    spaces = found(Cut(kind="threshold", value=5.5))
    write_csv(tmp_path / "null_spaces.csv", spaces.summary)
    SPECTRA.write(tmp_path / "null_spaces.parquet", spaces.spectra)
    first, second = NULL_SPACES.read_csv(tmp_path / "null_spaces.csv").to_dict("records")
    assert (first["layer"], second["layer"]) == (3, 5)
    assert (first["rank"], first["d_mlp"], first["share"]) == (5, 20, 0.25)
    assert (first["cut"], first["value"]) == ("threshold", 5.5)
    assert first["trace"] == pytest.approx(TRACE) and first["mean_square"] == TRACE
    assert (first["smallest"], first["largest"]) == pytest.approx((1, 20))
    assert first["leakage"] == pytest.approx(15 / TRACE)  # 1 + 2 + 3 + 4 + 5
    assert first["leakage"] + first["outside"] == pytest.approx(1)
    spectra = SPECTRA.read(tmp_path / "null_spaces.parquet")
    for layer in LAYERS:
        rows = spectra[spectra["layer"] == layer]
        assert rows["index"].tolist() == list(range(1, D_MLP + 1))
        assert rows["eigenvalue"].to_numpy() == pytest.approx(np.arange(1, D_MLP + 1))


@pytest.mark.parametrize("factor", [0.5 / FURTHEST, 2 * FURTHEST, 1e4])
def test_a_sum_over_tokens_is_refused(factor):
    sums = {3: COVARIANCES[3], 5: factor * COVARIANCES[5]}
    said = r"layer 5 is no mean over tokens .* trace is .* \|k\|\^2 .* is 210; .* fetch"
    with pytest.raises(CovarianceError, match=said):
        found(FEW, sums)


@pytest.mark.parametrize("factor", [1.1 / FURTHEST, 0.9 * FURTHEST])
def test_other_texts_may_have_other_keys(factor):
    scaled = {layer: factor * matrix for layer, matrix in COVARIANCES.items()}
    assert found(FEW, scaled).summary["trace"].to_numpy() == pytest.approx(factor * TRACE)


@pytest.mark.parametrize("bad", ["nan", "asymmetric"])
def test_what_is_no_second_moment_is_refused(bad):
    broken = COVARIANCES[5].copy()
    broken[0, 3] = np.nan if bad == "nan" else 100
    said = {"nan": "not finite", "asymmetric": "not symmetric: entries .* differ by"}[bad]
    with pytest.raises(CovarianceError, match=f"layer 5 .*{said}.*gather it again"):
        found(FEW, COVARIANCES | {5: broken})
    broken[0, 0] = np.nan  # in the trace, by which sums are told
    with pytest.raises(CovarianceError, match="layer 5 .*not finite"):
        found(FEW, COVARIANCES | {5: broken})


def test_a_cut_below_everything_is_refused():
    said = r"layer 3: null_space threshold 0\.5 .* from 1 to 20; choose another cut: null_space of"
    with pytest.raises(CovarianceError, match=said):
        found(Cut(kind="threshold", value=0.5))


def test_a_cut_above_everything_is_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        spaces = found(Cut(kind="threshold", value=21))
    assert [record.message.split(",")[0] for record in caplog.records] == [
        f"layer {layer}: null_space threshold 21 takes all 20 directions" for layer in LAYERS
    ]
    assert spaces.matrices["basis3"].shape == (D_MLP, 0)
    assert spaces.summary["leakage"].tolist() == [1, 1]


def test_a_whole_null_space_is_read_too(tmp_path):
    path = tmp_path / "null_spaces.safetensors"
    written(path, Cut(kind="threshold", value=21))
    null = LazyNullSpaces(path, BASE, LAYERS, D_MLP)[3]
    keys = torch.rand(D_MLP, 2, dtype=torch.float64)
    assert null.rank == D_MLP and torch.equal(null.project(keys), keys)


@pytest.mark.parametrize(
    ("expected", "layers", "width", "said"),
    [
        ({"base": "other"}, LAYERS, D_MLP, "base is 'abc', this run needs 'other'"),
        (BASE | cut_metadata(FEW), LAYERS, D_MLP, "cut_value is '15', this run needs '4'"),
        (BASE, [3, 4], D_MLP, "no null space of layer 4"),
        (BASE, LAYERS, 24, r"basis3 has shape \[20, 5\], .* rank 15 need \[24, 9\]"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, expected, layers, width, said):
    path = tmp_path / "null_spaces.safetensors"
    written(path)
    with pytest.raises(StateError, match=f"{path}: {said}.*; delete the file"):
        LazyNullSpaces(path, expected, layers, width)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"complement3": "false"}, r"basis3 has shape \[20, 5\], .* need \[20, 15\]"),
        ({"complement5": "maybe"}, "no null space of layer 5"),
        ({"rank5": "many"}, "no null space of layer 5"),
        ({"rank5": "21"}, "basis5 has shape"),
    ],
)
def test_metadata_that_cannot_be_are_refused(tmp_path, more, said):
    path = tmp_path / "null_spaces.safetensors"
    written(path, **more)
    with pytest.raises(StateError, match=f"{path}: {said}.*; delete the file"):
        LazyNullSpaces(path, BASE, LAYERS, D_MLP)


def test_a_flipped_byte_is_noticed_when_a_layer_is_read(tmp_path):
    path = tmp_path / "null_spaces.safetensors"
    written(path)
    content = bytearray(path.read_bytes())
    header = int.from_bytes(content[:8], "little")
    described = json.loads(content[8 : 8 + header])
    content[8 + header + described["basis5"]["data_offsets"][0]] ^= 1
    path.write_bytes(content)
    read = LazyNullSpaces(path, BASE, LAYERS, D_MLP)
    assert read[3].rank == 15
    with pytest.raises(StateError, match=f"{path}: basis5 is not what was written"):
        read[5]


def test_the_mean_square_of_keys_is_the_trace_of_their_second_moment():
    model, tokenizer = EditableModel(tiny_gpt2()), tiny_tokenizer()
    texts = [context.format("Lyon") for context in tiny_contexts()]
    found = mean_squares(model, tokenizer, texts, [3, 1], 64)
    moments, tokens = second_moments(model, tokenizer, [" ".join(texts)], [1, 3], 64)
    assert tokens > 10 and found.keys() == {1, 3}
    for layer, moment in moments.items():
        assert found[layer] == pytest.approx(float(moment.trace()), rel=1e-5)
