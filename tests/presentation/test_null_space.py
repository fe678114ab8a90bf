"""The table and the figure of null spaces."""

import json

import numpy as np
import pandas as pd
import pytest

from modeledit.evaluation.schemas import NULL_SPACES, SPECTRA
from modeledit.presentation import null_space_table as table
from modeledit.presentation import report
from modeledit.presentation.figures.null_space import figure_null_space
from modeledit.presentation.typesetting import frame_to_latex

D_MLP = 1000
CUTS = {
    "threshold": (0.02, "eigenvalues below 0.02"),
    "trace": (0.1, "the smallest eigenvalues, up to 10% of the trace"),
    "rank": (600.0, "the 600 smallest eigenvalues"),
}


def summary(cut="threshold", ranks=(600, 250)):
    rows = [
        {
            "layer": layer,
            "rank": rank,
            "d_mlp": D_MLP,
            "share": rank / D_MLP,
            "cut": cut,
            "value": CUTS[cut][0],
            "trace": 20.5,
            "smallest": 1e-3,
            "largest": 1.5,
            "leakage": 0.1234,
            "outside": 0.8766,
            "mean_square": 21.0,
        }
        for layer, rank in zip((3, 4), ranks, strict=True)
    ]
    return pd.DataFrame(rows)[list(NULL_SPACES.names)]


def spectra(least=1e-3):
    index = np.arange(1, D_MLP + 1)
    values = np.logspace(np.log10(least), 0, D_MLP)
    frames = [pd.DataFrame({"layer": i, "index": index, "eigenvalue": i * values}) for i in (3, 4)]
    return pd.concat(frames)[list(SPECTRA.names)]


def test_the_table_has_a_row_for_each_layer_in_percent():
    first, second = table.cells(summary()).to_dict("records")
    assert (first["Layer"], first["Rank"], first["of"], first["Rank (%)"]) == (
        "3",
        "600",
        "1000",
        "60.0",
    )
    assert (first["Leakage (%)"], first["Outside (%)"], first["tr(C)"]) == ("12.3", "87.7", "20.5")
    assert (second["Layer"], second["Rank (%)"]) == ("4", "25.0")


@pytest.mark.parametrize("cut", CUTS)
def test_the_caption_says_the_cut_in_words(cut):
    assert table.caption("GPT-J", summary(cut)) == f"Null space of GPT-J, {CUTS[cut][1]}."
    text = frame_to_latex(table.cells(summary(cut)), table.caption("GPT-J", summary(cut)), "tab:x")
    assert r"Rank (\%)" in text


def test_small_models_are_marked():
    assert table.note(["Tiny"]).endswith(
        "Measured on Tiny; not comparable with the paper's numbers."
    )
    assert table.note([]) == table.NOTE


@pytest.mark.parametrize("cut", CUTS)
def test_the_figure_has_the_spectra_and_where_they_are_cut(tmp_path, cut):
    path = tmp_path / "figures" / "m.null_space.png"
    record = figure_null_space(summary(cut), spectra(), path, title="Null space", note="small")
    assert path.read_bytes().startswith(b"\x89PNG") and path.with_suffix(".pdf").stat().st_size > 0
    assert json.loads(path.with_suffix(".json").read_text()) == record
    assert (record["figure"], record["cut"], record["value"]) == ("null_space", cut, CUTS[cut][0])
    first, second = record["layers"]
    assert (first["layer"], first["rank"], first["leakage"]) == (3, 600, 0.1234)
    assert (second["layer"], second["rank"], second["d_mlp"]) == (4, 250, D_MLP)
    points = first["eigenvalues"]
    assert points[0] == [1, pytest.approx(3e-3)] and points[-1] == [D_MLP, pytest.approx(3)]
    assert 100 < len(points) < 300


def test_eigenvalues_that_rounding_left_negative_do_not_stop_the_figure(tmp_path):
    rows = spectra()
    rows.loc[rows["index"] < 5, "eigenvalue"] = -1e-18
    record = figure_null_space(summary(ranks=(D_MLP, 1)), rows, tmp_path / "m.null_space.png")
    assert record["layers"][0]["eigenvalues"][0] == [1, -1e-18]


def test_the_figures_bytes_are_the_same_every_time(tmp_path):
    for name in ("a", "b"):
        figure_null_space(summary(), spectra(), tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_the_report_names_the_model_and_says_what_is_shown(tmp_path):
    path = tmp_path / "gpt-j-6b.null_space.png"
    record = figure_null_space(summary(), spectra(), path)
    assert "smallest first" in report.caption(record)
    shown = report._figure(path, [], {"gpt-j-6b": {"title": "GPT-J (6B)"}})
    assert shown["where"] == "GPT-J (6B)" and shown["alt"] == "GPT-J (6B): null space"
