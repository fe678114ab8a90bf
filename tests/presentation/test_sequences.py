"""What is shown of sequences of batches: figure, table, the report's section."""

import json
import math
import re
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest
import yaml

from modeledit.evaluation.sequences import over_trials, read_sequences
from modeledit.io.frames import read_csv, write_csv
from modeledit.paper import published
from modeledit.paper.comparison import MATCH
from modeledit.paper.sequence_comparison import Ours, compare_sequences
from modeledit.presentation import sequence_table
from modeledit.presentation.figures.sequence import PANELS, Sequences, figure_sequence
from modeledit.presentation.report import SECTIONS, Sources, caption, render
from modeledit.presentation.typesetting import TableFiles, frame_to_latex
from modeledit.study.layout import Layout
from modeledit.study.stopping import Rule
from scripts.render_sequences import Inputs, render_sequences
from tests.made_up import DEFAULT
from tests.made_up_sequences import Study
from tests.presentation.test_report import Page
from tests.presets import CORRECTED, averaging

AVERAGING = averaging(Rule("trial"))
TITLES = {"smollm2-135m": "SmolLM2 <135M>"}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    made = Study(Layout("demo"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("sequences"))
        made.write()
        paths = [path.resolve() for path in made.evaluate()]
        rows, around = read_sequences(paths[:1]), read_csv(paths[1])
    return {"paths": paths, "rows": rows, "intervals": around}


@pytest.fixture(scope="module")
def comparison(study):
    means = over_trials(study["rows"], AVERAGING)
    given = Ours(means, study["intervals"], CORRECTED, {})
    return compare_sequences(given, published.read_sequences())


def drawn(study):
    return Sequences(over_trials(study["rows"], AVERAGING), study["intervals"], "succ")


# ---- The figure


def test_the_record_holds_what_the_panels_show(study, tmp_path):
    path = tmp_path / "a.sequence.png"
    record = figure_sequence(drawn(study), path, title="t", note="n")
    panels = record["panels"]
    assert list(panels) == list(PANELS)
    of = {name: panel["methods"]["MEMIT"] for name, panel in panels.items()}
    # With each batch MEMIT forgets everything but the batch itself.
    assert of["efficacy"]["edits"] == [2, 4, 6]
    assert of["efficacy"]["mean"] == pytest.approx([1.0, 1 / 2, 1 / 3])
    assert (of["retention"]["edits"], of["retention"]["mean"]) == ([4, 6], [0.0, 0.0])
    assert of["forgetting"]["edits"] == [2, 4, 6]
    assert of["forgetting"]["mean"] == [0.0, 0.0, 1.0]
    assert of["me_ppl"]["mean"] == pytest.approx([40, 800, 16000])
    assert of["growth"]["mean"] == pytest.approx([0.04, 0.08, 0.12])
    assert all(math.isnan(low) for low in of["me_ppl"]["low"])
    low, mean, high = (of["efficacy"][key][1] for key in ("low", "mean", "high"))
    assert 0 <= low <= mean <= high <= 1 and low < high
    assert panels["efficacy"]["methods"]["AlphaEdit"]["mean"] == [1.0, 1.0, 1.0]
    levels = {name: panel["unedited"] for name, panel in panels.items()}
    assert levels["efficacy"] == levels["forgetting"] == 0.0 and levels["specificity"] == 1.0
    assert levels["me_ppl"] == pytest.approx(50) and math.isnan(levels["growth"])
    assert record["collapsed"] == {"MEMIT": 6, "AlphaEdit": None}
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    stored = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert stored["panels"]["efficacy"] == panels["efficacy"]
    assert stored["panels"]["me_ppl"]["methods"]["MEMIT"]["low"] == [None, None, None]
    assert "efficacy and specificity are success" in caption(stored)


def test_a_model_without_a_finite_perplexity_is_drawn_and_crossed_out(study, tmp_path):
    rows = study["rows"].copy()
    lost = (rows["method"] == "MEMIT") & (rows["batch"] >= 2)
    rows.loc[lost, "me_ppl"], rows.loc[lost, "collapsed"] = math.inf, True
    found = Sequences(over_trials(rows, AVERAGING), study["intervals"], "acc")
    record = figure_sequence(found, tmp_path / "a.sequence.png")
    assert record["collapsed"]["MEMIT"] == 4 and record["measure"] == "accuracy"
    stored = json.loads((tmp_path / "a.sequence.json").read_text(encoding="utf-8"))
    assert stored["panels"]["me_ppl"]["methods"]["MEMIT"]["mean"] == [40.0, None, None]


def test_without_sequences_there_is_no_figure(study, tmp_path):
    nothing = drawn(study).means.head(0)
    with pytest.raises(ValueError, match="no metrics of sequences"):
        figure_sequence(Sequences(nothing, study["intervals"], "succ"), tmp_path / "a.png")


# ---- The table


def test_the_table_is_of_the_last_batch(study, comparison):
    table = sequence_table.build(study["rows"], comparison, TITLES, AVERAGING, "A note.")
    assert table.rows["method"].tolist() == ["Unedited", "MEMIT", "AlphaEdit"]
    assert (table.rows["source"] == "").all()  # nothing is published of a small model
    memit = table.rows.iloc[1]
    assert memit[["batches", "edits", "n_requests", "n_trials"]].tolist() == [3, 6, 6, 2]
    assert memit["eff_succ"] == pytest.approx(1 / 3) and memit["collapsed_after"] == 6
    assert memit["iterations"] == pytest.approx(5 / 3)  # 2, 1, 2
    assert table.printed.iloc[1].tolist() == [
        "", "MEMIT†", "3 × 2", *["33.33"] * 8, "16000.00", "12.00", "1.67",
    ]  # fmt: skip
    first = table.printed.iloc[0]
    assert first[["Model", "Edits", "Spec. S", "Score A"]].tolist() == [
        "SmolLM2 <135M>", "0", "100.00", "--",
    ]  # fmt: skip
    assert table.note == (
        "Means over 2 trials. † Collapsed (ME-PPL-50 above 1000, or values that are not finite):"
        " MEMIT on SmolLM2 <135M> after 6 edits. --: not measured. A note."
    )


def test_published_rows_stand_below_what_they_were_set_against(study, comparison):
    judged = comparison[comparison["model"] == "gpt-j-6b"].copy()
    judged = judged[judged["dataset"] == "counterfact"]
    judged["verdict"] = judged["verdict"].where(judged["method"] != "AlphaEdit", MATCH)
    judged = judged.assign(dataset="geography", model="smollm2-135m", size=2)
    table = sequence_table.build(study["rows"], judged, TITLES, AVERAGING)
    assert table.rows["method"].tolist() == ["Unedited", "MEMIT", "AlphaEdit", "AlphaEdit"]
    theirs = table.printed.iloc[-1]
    assert theirs["Method"] == "AlphaEdit [1]"
    assert theirs[["Edits", "Eff. S", "Gen. S", "Spec. S", "Eff. A", "Moved"]].tolist() == [
        "2000", "99.75", "96.38", "75.48", "--", "--",
    ]  # fmt: skip
    assert "[1] published: arXiv:2410.02355, Table 1; each batch edited once." in table.note


def test_the_table_is_written_in_three_forms(study, comparison, tmp_path):
    against = tmp_path / "sequence_comparison.csv"
    write_csv(against, comparison)
    outputs = TableFiles(*(tmp_path / f"a.{form}" for form in ("tex", "csv", "html", "md")))
    given = Inputs(study["paths"][0], against)
    render_sequences("geography", given, TITLES, "A note.", AVERAGING, outputs)
    tex, html = (p.read_text(encoding="utf-8") for p in (outputs.tex, outputs.html))
    percent = "S[table-format=3.2]"
    (columns,) = re.findall(r"\\begin{tabular}{@{}(.+)@{}}", tex)
    assert columns.split(" ")[:11] == ["l", "l", "l", *[percent] * 8] and "{Eff. S}" in tex
    assert r"MEMIT\ensuremath{^{\dagger}} & 3 \ensuremath{\times} 2 & 33.33" in tex
    assert "SmolLM2 &lt;135M&gt;" in html and '<td class="number">33.33</td>' in html
    found = pd.read_csv(outputs.csv)
    assert tuple(found.columns) == sequence_table.COLUMNS
    assert found["eff_succ"].tolist() == pytest.approx([0, 1 / 3, 1])


def test_an_infinite_perplexity_is_typeset(study, comparison):
    rows = study["rows"].assign(me_ppl=math.inf)
    printed = sequence_table.build(rows, comparison, TITLES, AVERAGING).printed
    assert r"& \ensuremath{\infty} &" in frame_to_latex(printed, "", "tab:a")


# ---- The report


def report(tmp_path: Path, study=None, comparison=None):
    """The page of a study of sequences alone."""
    block = {"dataset": "geography", "requests": "all", "models": ["smollm2-135m"]}
    block |= {"methods": ["MEMIT", "AlphaEdit", "PMET"], "batches": {"size": 2, "count": 4}}
    config = DEFAULT | {"name": "demo", "trials": {"count": 2, "size": 8}, "runs": [block]}
    model = {"title": TITLES["smollm2-135m"], "comparable": False}
    whole = {"config": config, "switches": asdict(CORRECTED), "models": {"smollm2-135m": model}}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(whole), encoding="utf-8")
    if study is None:
        return Page(render(Sources(path)))
    against = tmp_path / "sequence_comparison.csv"
    write_csv(against, comparison)
    gathered, around = study["paths"]
    figure = tmp_path / "geography.smollm2-135m.batches_of_2.sequence.png"
    figure_sequence(drawn(study), figure)
    return Page(
        render(
            Sources(
                path,
                sequences=gathered,
                sequence_intervals=around,
                sequence_comparison=against,
                figures=[figure],
            )
        )
    )


OF_RUNS = ("overview", "edits", "claims", "comparison", "statistics", "behavior")
ALONE = [s for s in SECTIONS if s not in OF_RUNS]


def test_the_report_of_sequences_alone_leaves_out_what_is_of_runs(study, comparison, tmp_path):
    page = report(tmp_path, study, comparison)
    assert [name for name in page.ids if name in SECTIONS] == ALONE
    text = " ".join(page.text.split())
    assert "of 6 planned sequences 4 have batches that were done" in text
    assert "planned runs" not in text and "4 batches of 2" in text
    assert "3 of 4" in text and "1.6e+04 (collapsed)" in text
    assert "2 planned sequences not run PMET on SmolLM2 <135M>, geography, trial 1" in text
    assert "batches of 2 on SmolLM2 <135M>, geography" in text
    assert len(page.json("list-sequences")["rows"]) == len(study["rows"])
    assert len(page.json("list-sequence_comparison")["rows"]) == len(comparison)
    intervals = page.json("list-sequence_intervals")
    mean = intervals["columns"].index("mean")
    assert max(row[mean] for row in intervals["rows"]) == 100.0  # percent


def test_sequences_that_were_not_run_are_said_so(tmp_path):
    page = report(tmp_path)
    assert [name for name in page.ids if name in SECTIONS] == ALONE
    assert "6 planned sequences not run" in page.text
