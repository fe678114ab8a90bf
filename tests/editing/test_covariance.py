"""Factors of covariances that are definite, slightly indefinite, or none at all."""

import logging

import pytest
import torch

from modeledit.editing.factors import RIDGES, CovarianceError, factorize, factors_of
from modeledit.io.matrices import read_matrices, write_matrices

ROWS = 40


def second_moment(tokens: int = 400, rows: int = ROWS) -> torch.Tensor:
    keys = torch.randn(
        tokens, rows, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    return keys.T @ keys / tokens


def with_smallest_eigenvalue(value: float) -> torch.Tensor:
    """A second moment whose smallest eigenvalue is set to `value` times its mean variance."""
    moment = second_moment()
    values, vectors = torch.linalg.eigh(moment)
    values[0] = 0
    values[0] = value * values.sum() / (len(values) - value)
    return (vectors * values) @ vectors.T


def test_a_definite_one_is_factorised_as_it_is(caplog):
    for moment in (second_moment(), second_moment().float()):
        before = moment.clone()
        lower, ridge = factorize(moment, 3)
        assert ridge == 0 and torch.equal(moment, before)
        assert torch.equal(lower, torch.linalg.cholesky(moment.double()))
    assert not caplog.records


@pytest.mark.parametrize(
    ("smallest", "expected"), [(-0.5e-10, 1e-10), (-0.5e-8, 1e-8), (-0.3e-6, 1e-6), (-0.5e-4, 1e-4)]
)
def test_a_slightly_indefinite_one_gets_the_smallest_ridge_and_a_warning(
    caplog, smallest, expected
):
    moment = with_smallest_eigenvalue(smallest)
    before = moment.clone()
    with caplog.at_level(logging.WARNING):
        lower, ridge = factorize(moment, 3)
    assert ridge == pytest.approx(expected) and ridge in RIDGES
    assert torch.equal(moment, before)
    raised = moment + ridge * moment.diagonal().mean() * torch.eye(ROWS, dtype=torch.float64)
    torch.testing.assert_close(lower @ lower.T, raised, rtol=0, atol=1e-12)
    (record,) = caplog.records
    assert f"layer 3 is not positive definite: {ridge:g} of its mean variance" in record.message


def test_rounding_to_float32_is_what_the_ridge_is_for():
    """Three rows follow from the others; rounding makes their eigenvalues negative."""
    moment = second_moment(ROWS - 3).float()
    assert torch.linalg.eigvalsh(moment.double())[0] < 0
    assert 0 < factorize(moment, 3).ridge <= 1e-6


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("tokens", [1, 20, 30])
def test_too_few_tokens_are_no_matter_of_rounding(tokens, rounded):
    moment = second_moment(tokens)
    with pytest.raises(CovarianceError, match=r"layer 5 .* rows .* varied, tokens; .* has 40 rows"):
        factorize(moment.float() if rounded else moment, 5)


def changed(i: int, j: int, value: float) -> torch.Tensor:
    moment = second_moment()
    moment[i, j] = value
    return moment


RUBBISH = {
    "NaN": (changed(2, 3, torch.nan), "not finite"),
    "infinite": (changed(0, 0, torch.inf), "not finite"),
    "asymmetric": (changed(0, 5, 0.9), "not symmetric: entries .* differ by"),
    "asymmetric above alone": (torch.triu(second_moment()), "not symmetric"),
    "indefinite": (with_smallest_eigenvalue(-2e-4), "not even with 0.0001 of its mean variance"),
    "negative": (-second_moment(), "layer 7"),
    "zero": (torch.zeros(ROWS, ROWS), "not positive definite"),
}


@pytest.mark.parametrize("case", RUBBISH)
def test_rubbish_is_refused_by_the_name_of_its_layer(case):
    moment, said = RUBBISH[case]
    with pytest.raises(CovarianceError, match=f"layer 7.*{said}|{said}") as error:
        factorize(moment, 7)
    assert "layer 7" in str(error.value) and "gather it" in str(error.value)


def test_the_file_says_which_ridge_each_layer_took(tmp_path):
    moments = {"layer3": second_moment(), "layer4": with_smallest_eigenvalue(-0.5e-8)}
    factors, ridges = factors_of({name: m.numpy() for name, m in moments.items()}, "cpu")
    write_matrices(tmp_path / "factors.safetensors", factors, {"base": "a model"} | ridges)
    expected = {"base": "a model", "ridge3": "0", "ridge4": "1e-08"}
    written = read_matrices(tmp_path / "factors.safetensors", expected)
    assert written.keys() == moments.keys()
    for name, moment in moments.items():
        torch.testing.assert_close(
            torch.from_numpy(written[name] @ written[name].T), moment, rtol=0, atol=1e-6
        )
