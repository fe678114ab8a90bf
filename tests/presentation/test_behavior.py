"""What is shown of behavior: figure, table, the report's section."""

import json
import math
from dataclasses import replace

import pandas as pd
import pytest

from modeledit.evaluation.behavior import paired_tests, pooled
from modeledit.evaluation.drift import TEXT_VALUES
from modeledit.evaluation.resampling import Resampling
from modeledit.evaluation.schemas import BEHAVIOR, BEHAVIOR_TESTS
from modeledit.io.frames import read_csv, write_csv
from modeledit.presentation import behavior_table
from modeledit.presentation.behavior_table import CAPTION, NOTES
from modeledit.presentation.figures.behavior import figure_behavior
from modeledit.presentation.figures.subject import Subject
from modeledit.presentation.report import SECTIONS, caption, listing, render
from modeledit.presentation.typesetting import TableFiles, frame_to_html
from scripts.aggregate_behavior import aggregate_behavior
from scripts.draw_behavior import draw_behavior
from scripts.render_behavior import render_behavior
from tests.made_up import make_results
from tests.made_up_behavior import values
from tests.presentation.test_report import Page

DRAWN = Resampling(seed=2, resamples=200)
TITLES = {"tiny": "Tiny <1M>"}


def drift(kl, nll):
    return dict(zip(TEXT_VALUES, ([2, 2], [kl, kl], [nll, nll]), strict=True))


def made_up():
    """MEMIT learns at its stop, not at k = 1, and collapses; NA_MEMIT learns at once."""
    ones, none = [1.0] * 8, [0.0] * 8
    before = (0, {"said_new_edit": none, "kept_neighbor": ones, "fluency": [5.0] * 8})
    before = (0, before[1] | drift(0, 1))
    first = (1, {"said_new_edit": none, "kept_neighbor": ones, "fluency": [4.5] * 8})
    stop = (3, {"said_new_edit": ones, "kept_neighbor": ones, "fluency": [4.0] * 8})
    memit = {
        "unedited": before,
        "first": (1, first[1] | drift(0.5, 2)),
        "stop": (3, stop[1] | drift(1.5, math.inf)),
    }
    assisted = {
        "unedited": before,
        "first": (1, stop[1] | drift(0.25, 1)),
        "stop": (1, stop[1] | drift(0.25, 1)),
    }
    return pd.concat([values("NA_MEMIT", assisted), values("MEMIT", memit)])


@pytest.fixture(scope="module")
def behavior():
    return pooled(made_up(), DRAWN)


@pytest.fixture(scope="module")
def tested():
    return paired_tests(made_up(), DRAWN)


# ---- The figure


def test_the_record_holds_what_the_panels_show(behavior, tmp_path):
    path = tmp_path / "places.tiny.behavior.png"
    record = figure_behavior(behavior, path, title="t", note="n")
    assert path.read_bytes().startswith(b"\x89PNG") and path.with_suffix(".pdf").stat().st_size > 0
    assert record["methods"] == ["MEMIT", "NA_MEMIT"]
    panels = record["panels"]
    assert list(panels) == ["said_new_edit", "kept_neighbor", "fluency", "drift_kl", "drift_ppl"]
    said = panels["said_new_edit"]
    assert said["unedited"] == 0 and said["states"]["MEMIT"]["first"]["value"] == 0
    stop = {"k": 3, "n": 8, "value": 1, "low": 1, "high": 1}
    assert said["states"]["MEMIT"]["stop"] == stop
    assert panels["fluency"]["unedited"] == 5
    assert panels["drift_kl"]["states"]["NA_MEMIT"]["stop"]["value"] == pytest.approx(0.25)
    assert math.isinf(panels["drift_ppl"]["states"]["MEMIT"]["stop"]["value"])
    written = json.loads(path.with_suffix(".json").read_text())
    assert written["panels"]["drift_ppl"]["states"]["MEMIT"]["stop"]["value"] is None
    assert "dashed: the unedited model" in caption(record)


def test_the_figures_bytes_are_the_same_every_time(behavior, tmp_path):
    for name in ("a", "b"):
        figure_behavior(behavior, tmp_path / f"{name}.png", title="What models say")
    for form in ("png", "pdf"):
        assert (tmp_path / f"a.{form}").read_bytes() == (tmp_path / f"b.{form}").read_bytes()


def test_nothing_measured_is_no_figure_and_no_table(behavior, tmp_path):
    nothing = behavior[:0]
    with pytest.raises(ValueError, match="nothing was measured"):
        figure_behavior(nothing, tmp_path / "a.png")
    with pytest.raises(ValueError, match="nothing was measured"):
        behavior_table.build(nothing, BEHAVIOR_TESTS.columns.empty_table().to_pandas(), TITLES)


# ---- The table


def test_the_table_has_the_unedited_model_and_both_states_of_each_method(behavior, tested):
    table = behavior_table.build(behavior, tested, TITLES, "Small.")
    printed = table.printed
    states = ["MEMIT, k = 1", "MEMIT, stop", "NA_MEMIT, k = 1", "NA_MEMIT, stop"]
    assert printed.columns.tolist() == ["Model", "", "Unedited", *states]
    assert printed["Model"].tolist() == ["Tiny <1M>", *[""] * 5]
    # All eight requests differ between MEMIT's states: p = 2 / 2**8, of 13 tests 0.10.
    rows = {row[1]: list(row[2:]) for row in printed.itertuples(index=False)}
    assert rows["k"] == ["0", "1", "3", "1", "1"]
    assert rows["Says o* (%)"] == ["0.00", "0.00", "100.00", "100.00", "100.00"]
    assert rows["Fluency (bits)"] == ["5.00", "4.50", "4.00", "4.00", "4.00"]
    assert rows["KL to the unedited (nats)"][:3] == ["0.000", "0.500", "1.500"]
    assert rows["Perplexity of texts"][:3] == ["2.72", "7.39", "∞"]
    assert table.numbers == ("Unedited", *states)
    assert table.note.endswith("--: not measured. Small.") and "nothing differs" in table.note


def test_what_differs_after_correction_is_marked(behavior, tested):
    sure = tested.assign(p_corrected=tested["p"])
    table = behavior_table.build(behavior, sure, TITLES)
    rows = table.printed.set_index("")
    assert rows.loc["Says o* (%)", "MEMIT, stop"] == "100.00*"
    assert "* differs from the same method after k = 1" in table.note and "†" not in table.note
    every = frame_to_html(
        table.printed, CAPTION, "tab:x", f"{table.note} {' '.join(NOTES.values())}"
    )
    assert "<i>" not in every  # an asterisk is itself


def test_the_scripts_write_csv_table_and_figure(tmp_path, behavior):
    folder = tmp_path / "places" / "tiny" / "MEMIT" / "trial1"
    folder.mkdir(parents=True)
    own = made_up().query("method == 'MEMIT'")
    names = ["request", "k", "state", "metric", "value"]
    own[names].to_parquet(folder / "behavior.parquet")
    paths = tmp_path / "behavior.csv", tmp_path / "behavior_tests.csv"
    aggregate_behavior([folder / "behavior.parquet"], 2, *paths)
    found = BEHAVIOR.read_csv(paths[0])
    assert set(found["method"]) == {"MEMIT"} and set(found["state"]) == {
        "unedited",
        "first",
        "stop",
    }
    outputs = TableFiles(*(tmp_path / f"t.{form}" for form in ("tex", "csv", "html", "md")))
    render_behavior("places", *paths, TITLES, "Small.", outputs)
    assert (
        "Tiny &lt;1M&gt;" in outputs.html.read_text() and "tab:behavior" in outputs.tex.read_text()
    )
    assert pd.read_csv(outputs.csv)["metric"].nunique() == 5
    draw_behavior(
        paths[0], Subject("places", "tiny", "What models say", "Tiny"), tmp_path / "f.png"
    )
    assert json.loads((tmp_path / "f.json").read_text())["methods"] == ["MEMIT"]


# ---- The report


def test_the_report_has_a_section_with_figure_table_and_tests(tmp_path, behavior, tested):
    sources = make_results(tmp_path / "made-up")
    own = {"behavior": behavior, "behavior_tests": tested}
    files = {name: tmp_path / f"{name}.csv" for name in own}
    for name, frame in own.items():
        write_csv(files[name], frame)
    figure = tmp_path / "places.tiny.behavior.png"
    figure_behavior(behavior, figure)
    outputs = TableFiles(
        *(tmp_path / f"places.behavior.{form}" for form in ("tex", "csv", "html", "md"))
    )
    render_behavior("places", *files.values(), TITLES, "", outputs)
    page = Page(
        render(
            replace(
                sources,
                **files,
                tables=[*sources.tables, outputs.html],
                figures=[*sources.figures, figure],
            )
        )
    )
    assert [name for name in page.ids if name in SECTIONS] == [
        name for name in SECTIONS if name != "sequences"
    ]
    order = [page.ids.index(name) for name in ("behavior", "fig-places-tiny-behavior")]
    assert order[0] < order[1] < page.ids.index("tab-behavior") < page.ids.index("comparison")
    rows = page.json("list-behavior_tests")
    row = dict(zip(rows["columns"], rows["rows"][0], strict=True))
    assert (row["metric"], row["difference"]) == ("says o*", 100)
    assert "Tiny <1M>" in page.text


def test_lists_print_fractions_in_percent_and_other_units_as_they_are(tmp_path, behavior):
    path = tmp_path / "behavior.csv"
    write_csv(path, behavior)
    found = listing(read_csv(path))
    lines = [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]]
    stop = {r["metric"]: r for r in lines if (r["method"], r["state"]) == ("MEMIT", "stop")}
    assert stop["says o*"]["value"] == 100 and stop["fluency"]["value"] == 4
    assert stop["neighbors kept"]["unedited"] == 100
