"""Tables: which rows, what is bold and coloured, and LaTeX that says so."""

import io
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeledit.evaluation import metrics as M
from modeledit.presentation import tables as T
from modeledit.presentation import typesetting
from modeledit.study.stopping import Rule, should_continue
from tests.presets import averaging

# k -> (efficacy, generalization, specificity, ME-PPL, p_bar, p_hat), as percent where fractions
MEMIT = {1: (79, 22, 75, 58.66, 1.04, 11360.64), 2: (98, 33, 70, 60.5, 1.03, 78.15)}
MEMIT |= {3: (99, 35, 69, 61.6, 1.02, 1.49), 4: (99, 35, 69, 62.4, 1.02, 1.40)}
NA_MEMIT = {1: (80, 20, 90, 58.0, 1.04, 900.0), 2: (99, 33, 88, 60.0, 1.03, 1.5)}
PMET = {1: (22, 3, 92, 55.6, 12598.8, 116384.51), 2: (99, 25, 75, 63.9, 1.31, 1.73)}
ROME = {1: (1, 1, 0, 7070.0, 5.29e3, 7.2e5), 2: (0, 0, 0, 2.15e5, 1e8, 1.21e14)}


def frame(runs, *, model="GPT-2 XL (1.5B)", dataset="geography", trials=1, n=24, drift=0.0):
    """A metrics.csv frame; trial t differs from the first by (t - 1) * drift in every value."""
    rows = []
    for method, steps in runs.items():
        for trial in range(1, trials + 1):
            shift = (trial - 1) * drift
            last = None
            for k, values in {0: (0, 0, math.nan, 54.66, math.nan, 3.26e5), **steps}.items():
                eff, gen, spec = (v / 100 + shift for v in values[:3])
                me_ppl, p_bar, p_hat = (v * (1 + shift) for v in values[3:])
                row = dict(zip(M.RUN, (dataset, model, method, trial), strict=True))
                row |= {"k": k, "n_requests": n, "eff_acc": eff, "eff_succ": eff, "gen_acc": gen}
                row |= {"gen_succ": gen, "spec_acc": spec, "spec_succ": 0.9 if k == 0 else spec}
                row |= {
                    name: M.harmonic_mean([row[p] for p in of], "keep")
                    for name, of in M.SCORES.items()
                }
                row |= {"me_ppl": me_ppl, "p_bar": p_bar, "p_hat": p_hat}
                row |= {"dp": abs(p_hat - p_bar), "dp2": abs(p_hat - last) if k > 1 else math.nan}
                last = p_hat
                rows.append(row)
    return pd.DataFrame(rows, columns=list(M.COLUMNS))


ALL = {"MEMIT": MEMIT, "NA_MEMIT": NA_MEMIT, "PMET": PMET, "ROME": ROME}


def build(
    name, metrics, stop_row="trial", *, dataset, names=None, note="", round_per_trial=None, **chosen
):
    means = averaging(Rule(stop_row), round_per_trial=round_per_trial)
    words = T.Words(dataset, names or {}, note)
    return T.build(name, metrics, T.Selection(dataset, **chosen), means, words)


def rows(table):
    return [f"{r['method']} {r['k']}" for _, r in table.frame.iterrows()]


def bold(table, row):
    at = rows(table).index(row)
    return {c for c in table.columns if table.bold.loc[at, c]}


# ---- the main table


def test_iterative_shows_the_first_iteration_and_the_stop():
    table = build("iterative", frame(ALL), dataset="geography")
    # A method that collapsed at once shows its first row only; neighbor runs are another table's.
    assert rows(table) == ["Unedited 0", "ROME 1", "MEMIT 1", "MEMIT 3", "PMET 1", "PMET 2"]
    assert table.columns == (*M.FRACTIONS, "me_ppl", "dp")


def test_bold_is_the_higher_of_the_pair_and_only_for_fractions():
    table = build("iterative", frame(ALL), dataset="geography")
    assert bold(table, "MEMIT 1") == {"spec_acc", "spec_succ"}
    better = {"eff_acc", "eff_succ", "gen_acc", "gen_succ", "score_acc", "score_succ"}
    assert bold(table, "MEMIT 3") == better
    assert bold(table, "ROME 1") == bold(table, "Unedited 0") == set()


def test_ties_stay_plain_and_are_judged_unrounded():
    steps = {1: (50, 40, 70, 55, 1.0, 9.0), 2: (50, 40.001, 70, 55, 1.0, 1.5)}
    table = build("iterative", frame({"MEMIT": steps}), dataset="geography")
    assert bold(table, "MEMIT 1") == set()
    assert bold(table, "MEMIT 2") == {"gen_acc", "gen_succ", "score_acc", "score_succ"}
    # The last bits of a mean over trials are no difference.
    data = frame({"MEMIT": {1: steps[1], 2: (50, 40, 70, 55, 1.0, 1.5)}})
    data.loc[data["k"] == 2, "eff_acc"] += 1e-16
    assert bold(build("iterative", data, dataset="geography"), "MEMIT 2") == set()


def test_a_collapse_or_a_missing_value_wins_and_loses_nothing():
    steps = {1: (50, 40, 70, 55, 1.0, 9.0), 2: (90, 80, 80, 1414.0, 1.0, 9.0)}
    table = build("iterative", frame({"MEMIT": steps}), dataset="geography")
    assert not table.bold.to_numpy().any() and table.frame["collapsed"].tolist() == [0, 0, 1]
    data = frame({"MEMIT": MEMIT})
    data.loc[data["k"] == 1, "eff_acc"] = math.nan
    assert "eff_acc" not in bold(build("iterative", data, dataset="geography"), "MEMIT 3")


def test_the_unedited_models_agreement_with_itself_is_shown_as_a_ceiling():
    """I19: where it was measured; it has no score, and competes with nothing."""
    data = frame({"MEMIT": MEMIT})
    for name in ("iterative", "iterative_all"):
        plain = build(name, data, dataset="geography")
        assert T.CEILING not in plain.footnotes
        measured = data.assign(spec_acc=data["spec_acc"].where(data["k"] > 0, 0.36))
        table = build(name, measured, dataset="geography")
        assert table.footnotes.count(T.CEILING) == 1
        zero = table.frame.iloc[0]
        assert zero["method"] == "Unedited" and zero["spec_acc"] == 0.36
        assert math.isnan(zero["score_acc"]) and bold(table, "Unedited 0") == set()
        assert "ceiling" in typesetting.to_html(table)
        assert "ceiling" in typesetting.to_latex(table)
    assert T.CEILING not in build("stopping_all", measured, dataset="geography").footnotes


def test_an_unmet_rule_is_marked_and_explained():
    steps = {1: (50, 40, 70, 55, 1.0, 9.0), 2: (60, 50, 70, 55, 1.0, 5.0)}
    table = build("iterative", frame({"MEMIT": steps}), dataset="geography")
    assert rows(table)[-1] == "MEMIT 2" and not table.frame["met"].iloc[-1]
    latex = typesetting.to_latex(table)
    assert r"2$^{\dagger}$" in latex and "not met within the budget" in latex
    met = typesetting.to_latex(build("iterative", frame({"MEMIT": MEMIT}), dataset="geography"))
    assert "dagger" not in met


def test_a_stop_at_once_is_one_row():
    steps = {1: (50, 40, 70, 55, 1.0, 1.1), 2: (60, 50, 70, 55, 1.0, 1.1)}
    table = build("iterative", frame({"PMET": steps}), dataset="geography")
    assert rows(table) == ["Unedited 0", "PMET 1"]


def test_only_what_was_measured_and_in_the_order_asked():
    data = pd.concat(
        [frame(ALL), frame({"PMET": PMET}, model="b"), frame(ALL, dataset="other", model="c")]
    )
    table = build("iterative", data, dataset="geography")
    assert list(dict.fromkeys(table.frame["model"])) == ["GPT-2 XL (1.5B)", "b"]
    table = build(
        "iterative",
        data,
        dataset="geography",
        models=["b", "GPT-2 XL (1.5B)"],
        methods=["PMET", "MEMIT"],
    )
    assert rows(table)[:4] == ["Unedited 0", "PMET 1", "PMET 2", "Unedited 0"]
    assert rows(table)[4:] == ["PMET 1", "PMET 2", "MEMIT 1", "MEMIT 3"]
    with pytest.raises(ValueError, match="zsre.*geography"):
        build("iterative", data, dataset="zsre")
    with pytest.raises(ValueError, match="iterative_all"):
        build("nonsense", data, dataset="zsre")


def test_trials_average_and_spread():
    data = frame({"MEMIT": MEMIT}, trials=3, drift=0.01)
    table = build("iterative", data, dataset="geography")
    assert table.frame["eff_acc"].iloc[1] == pytest.approx(0.80)
    assert table.sd["eff_acc"].iloc[1] == pytest.approx(0.01)
    latex = typesetting.to_latex(table, spread=True)
    assert r"\pm$\,1.00" in latex and "Means over 3 trials." in latex
    assert r"\pm" not in typesetting.to_latex(table)
    # One trial has no spread to print.
    assert r"\pm" not in typesetting.to_latex(
        build("iterative", frame({"MEMIT": MEMIT}), dataset="geography"), spread=True
    )


def test_the_unedited_row_comes_from_the_method_with_most_trials():
    few, many = frame({"ROME": ROME}), frame({"MEMIT": MEMIT}, trials=3, drift=0.01)
    table = build("iterative", pd.concat([few, many]), dataset="geography")
    assert table.frame["n_trials"].tolist() == [3, 1, 3, 3]


# ---- the other two


def test_iterative_all_colours_the_stop_and_the_collapse():
    table = build("iterative_all", frame(ALL), dataset="geography")
    colours = dict(zip(rows(table), table.frame["colour"], strict=True))
    assert colours["MEMIT 3"] == colours["PMET 2"] == "green"
    assert colours["ROME 1"] == colours["ROME 2"] == "red"
    assert [c for c in colours.values() if c] == ["red", "red", "green", "green"]
    assert bold(table, "MEMIT 1") == {"spec_acc", "spec_succ"} and not bold(table, "MEMIT 4")
    assert table.columns[-4:] == ("me_ppl", "p_bar", "p_hat", "dp")
    latex = typesetting.to_latex(table)
    assert latex.count(r"\cellcolor{tablegreen}") == 2 * (1 + len(table.columns))
    assert latex.count(r"\cellcolor{tablered}") == 2 * (1 + len(table.columns))


def test_iterative_all_says_when_trials_had_stopped():
    data = frame({"MEMIT": MEMIT}, trials=2, drift=0.0)
    data = data[(data["trial"] == 1) | (data["k"] < 4)]
    table = build("iterative_all", data, dataset="geography")
    assert table.frame["n_stopped"].tolist() == [0, 0, 0, 0, 1]
    assert any("stopped before" in text for text in table.footnotes)


def test_neighbor_pairs_compare_at_their_own_stops():
    data = frame(ALL, dataset="geography-eligible", n=739)
    table = build("neighbor", data, dataset="geography-eligible")
    assert rows(table) == ["Unedited 0", "MEMIT 3", "NA_MEMIT 2", "PMET 2"]
    assert bold(table, "NA_MEMIT 2") == {"spec_acc", "spec_succ", "score_acc", "score_succ"}
    assert bold(table, "MEMIT 3") == {"gen_acc", "gen_succ"}
    assert bold(table, "PMET 2") == set()  # its partner was not run
    latex = typesetting.to_latex(table)
    assert r"\#739" in latex and r"NA\_MEMIT" in latex and r"geography-eligible" in latex


# ---- one stop row

GAPS = {  # p-hat - p-bar by trial: they stop by themselves at k = 2, 3 and 4
    1: (9.0, 0.5, 0.4, 0.3, 0.2),
    2: (7.0, 9.0, -0.6, 4.0, 0.1),
    3: (-8.0, -6.0, -2.0, -0.9, -0.5),
}


def different_stops(mode):
    """Three trials that stop at different k, as a chain would leave them in each mode."""
    runs = []
    for trial, gaps in GAPS.items():
        dp = [abs(gap) for gap in gaps]
        last = next(k for k in range(1, 6) if k == 5 or not should_continue(k, dp, mode))
        steps = {
            k: (50 + 7 * k + trial, 40 + 5 * k - trial, 90 - 6 * k, 50 + k, 20.0, 20.0 + gap)
            for k, gap in enumerate(gaps[:last], start=1)
        }
        runs.append(frame({"MEMIT": steps}).assign(trial=trial))
    return pd.concat(runs, ignore_index=True)


@pytest.mark.parametrize(
    ("stop_row", "mode", "k"),
    [("mean", "early", "3"), ("mean", "full", "3"), ("trial", "early", "4")],
)
def test_the_stop_of_the_short_table_is_the_green_row_of_the_long_one(stop_row, mode, k):
    data = different_stops(mode)
    assert (data.groupby("trial")["k"].max().tolist() == [2, 3, 4]) == (mode == "early")
    short, long = (
        build(name, data, stop_row, dataset="geography", round_per_trial=2)
        for name in ("iterative", "iterative_all")
    )
    stop = short.frame.iloc[-1]
    (green,) = long.frame.index[long.frame["colour"] == "green"]
    assert long.frame.loc[green, "k"] == k
    assert stop["k"] == (k if stop_row == "mean" else "2–4") and stop["met"]
    for column in short.columns:
        assert stop[column] == pytest.approx(long.frame.loc[green, column], rel=1e-12), column
        assert short.sd[column].iloc[-1] == pytest.approx(long.sd.loc[green, column]), column
        assert short.bold[column].iloc[-1] == long.bold.loc[green, column], column
    short, long = (
        build(name, data, stop_row, dataset="geography") for name in ("stopping", "stopping_all")
    )
    picked, marked = (t.frame[t.frame["rules"].str.contains("proposed")] for t in (short, long))
    assert picked[["score_acc", "dp"]].to_numpy() == pytest.approx(
        marked[["score_acc", "dp"]].to_numpy()
    )


def test_no_row_is_green_before_all_trials_have_met_the_rule():
    data = different_stops("full")
    long = build("iterative_all", data, "trial", dataset="geography").frame
    assert long.loc[long["colour"] == "green", "k"].tolist() == ["4"]
    for stop_row, said in (("trial", True), ("mean", False)):
        notes = build("iterative_all", data, stop_row, dataset="geography").footnotes
        assert ("by its own |Δp_k|" in " ".join(notes)) == said
    # Where one trial never meets it no row is, whatever the means say.
    data.loc[data["trial"] == 3, "p_hat"] = data["p_bar"] + 1.5
    data["dp"] = abs(data["p_hat"] - data["p_bar"])
    for stop_row, met in (("trial", False), ("mean", True)):
        long = build("iterative_all", data, stop_row, dataset="geography").frame
        short = build("iterative", data, stop_row, dataset="geography")
        assert (long["colour"] == "green").any() == short.frame["met"].iloc[-1] == met, stop_row
    assert (
        "At least one trial" in build("iterative", data, "trial", dataset="geography").footnotes[0]
    )
    data["p_hat"] += 50.0
    text = build("iterative", data, "mean", dataset="geography").footnotes[0]
    assert text.startswith("† The means over trials did not meet")


# ---- output


def test_csv_holds_unrounded_values_and_flags():
    data = frame(ALL, trials=2, drift=1 / 300)
    table = build("iterative", data, dataset="geography")
    read = pd.read_csv(io.StringIO(typesetting.to_csv(table)))
    np.testing.assert_allclose(read["eff_acc"], table.frame["eff_acc"], rtol=1e-15)
    np.testing.assert_allclose(read["dp_sd"], table.sd["dp"], rtol=1e-12)
    assert read["eff_acc_bold"].tolist() == table.bold["eff_acc"].tolist()
    assert {"model", "method", "k", "met", "colour", "n_trials"} <= set(read.columns)


def test_percentages_perplexities_and_what_is_missing():
    assert typesetting.latex_cell(0.7567, "fraction") == "75.67"
    assert typesetting.latex_cell(11359.6, "perplexity") == "11359.60"
    assert typesetting.latex_cell(99999.996, "perplexity") == r"{\num{1.00e5}}"
    assert typesetting.latex_cell(1.21e14, "perplexity") == r"{\num{1.21e14}}"
    assert typesetting.latex_cell(math.nan, "fraction") == "{--}"
    assert typesetting.latex_cell(math.inf, "perplexity") == r"{$\infty$}"


@given(st.floats(0) | st.just(math.nan))
def test_every_perplexity_is_a_number_or_braced(value):
    cell = typesetting.latex_cell(value, "perplexity")
    assert re.fullmatch(r"\d{1,5}\.\d\d|\{.*\}", cell)


def test_the_note_is_printed_and_escaped():
    note = "SmolLM2_135M: 100% of 24 edits & more"
    latex = typesetting.to_latex(build("iterative", frame(ALL), dataset="geography", note=note))
    assert r"SmolLM2\_135M: 100\% of 24 edits \& more" in latex


def test_a_template_of_ones_own(tmp_path):
    mine = tmp_path / "mine.tex.j2"
    mine.write_text("<< table.name >>: << rows|length >>% {{ untouched }}")
    table = build("iterative", frame(ALL), dataset="geography")
    assert typesetting.to_latex(table, mine) == "iterative: 6% {{ untouched }}"


def test_every_row_has_every_cell():
    data = pd.concat([frame(ALL), frame({"PMET": PMET}, model="other_model")])
    for name in T.SPECS:
        table = build(name, data, dataset="geography")
        latex = typesetting.to_latex(table)
        body = latex.split(r"\midrule", 1)[1]
        lines = [line for line in body.splitlines() if re.search(r" & .*\\\\\*?$", line)]
        shown = [line for line in lines if "Model" not in line and "multicolumn{2}" not in line]
        assert len(shown) >= len(table.frame)
        assert {len(re.findall(r"(?<!\\)&", line)) for line in shown} == {
            2 + len(table.columns) + table.show_rules
        }
        assert latex.count("{") == latex.count("}")


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs LaTeX")
def test_the_document_compiles_without_overfull_boxes(tmp_path):
    note = "Measured on SmolLM2_135M (±), λ ≤ 5 % of <all> {things}; not comparable."
    names = {"GPT-2 XL (1.5B)": "SmolLM2_135M (instruct)", "other": "GPT-2 & co #2"}
    data = pd.concat([frame(ALL, trials=2, drift=0.01), frame(ALL, model="other")])
    built = [build(n, data, dataset="geography", note=note, names=names) for n in T.SPECS]
    fragments = [typesetting.to_latex(table) for table in built]
    fragments.append(typesetting.to_latex(built[0], spread=True).replace("tab:", "tab:spread-"))
    (tmp_path / "tables.tex").write_text(
        typesetting.document(fragments, title="A_run"), encoding="utf-8"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tables.tex"]
    for _ in range(2):  # longtable settles its widths in the second pass
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        if missing := re.search(r"File `(.+?)' not found", done.stdout):
            pytest.skip(f"this LaTeX has no {missing[1]}")
        assert done.returncode == 0, done.stdout[-2000:]
    log = (tmp_path / "tables.log").read_text(errors="replace")
    assert not [w for w in re.findall(r"Overfull \\hbox \(([\d.]+)pt", log) if float(w) > 10]
    assert "multiply defined" not in log


# ---- criteria, partial runs, HTML


CRITERIA = {1: (50, 40, 70, 55, 1.0, 90.0), 2: (60, 50, 70, 55, 1.0, 3.0)}
CRITERIA |= {3: (70, 50, 70, 55, 1.0, 1.9), 4: (70, 60, 70, 55, 1.0, 1.9)}


def test_the_criteria_table_shows_what_each_one_picks():
    table = build("stopping", frame({"MEMIT": CRITERIA, "ROME": ROME}), dataset="geography")
    # |dp| falls 89, 2, 0.9, 0.9: a tie is no decrease; p_hat moves by 1.1 and by 0.
    assert dict(zip(rows(table), table.frame["rules"], strict=True)) == {
        "ROME 1": "monotonic",
        "MEMIT 3": "proposed+monotonic",
        "MEMIT 4": "small_change",
    }
    assert bold(table, "MEMIT 4") == {"score_acc"} and bold(table, "ROME 1") == set()
    latex = typesetting.to_latex(table)
    assert r"\colorbox{tablegreen}{\strut P}\colorbox{tableorange}{\strut M}" in latex
    assert "Unedited" not in latex
    every = build("stopping_all", frame({"MEMIT": CRITERIA}), dataset="geography")
    assert rows(every) == ["Unedited 0", "MEMIT 1", "MEMIT 2", "MEMIT 3", "MEMIT 4"]
    assert every.frame["rules"].tolist() == ["", "", "", "proposed+monotonic", "small_change"]


def test_a_criterion_that_never_fires_is_said():
    steps = {1: (50, 40, 70, 55, 1.0, 90.0), 2: (60, 50, 70, 55, 1.0, 30.0)}
    table = build("stopping", frame({"PMET": steps}), dataset="geography")
    assert "No criterion picks an iteration of PMET" in " ".join(table.footnotes)
    assert len(table.frame) == 1 and "--: not run." not in table.footnotes


def test_prefixed_neighbors_have_their_own_tables():
    data = frame({**ALL, "NAP_MEMIT": NA_MEMIT, "NA2_MEMIT": NA_MEMIT})
    table = build("prefix", data, dataset="geography")
    expected = ["Unedited 0", "MEMIT 3", "NA_MEMIT 2", "NAP_MEMIT 2", "PMET 2"]
    assert rows(table) == expected and table.columns == (
        "eff_acc",
        "gen_acc",
        "spec_acc",
        "score_acc",
    )
    assert bold(table, "NA_MEMIT 2") == set()  # a tie with NAP_
    count = build("neighbor_count", data, dataset="geography")
    assert rows(count) == ["Unedited 0", "ROME 2", "MEMIT 3", "NA_MEMIT 2", "NA2_MEMIT 2", "PMET 2"]


def test_what_is_planned_and_not_run_shows_as_dashes():
    planned = [("GPT-2 XL (1.5B)", "MEMIT"), ("GPT-2 XL (1.5B)", "PMET"), ("b", "MEMIT")]
    for name in ("iterative", "iterative_all", "stopping"):
        table = build(name, frame({"MEMIT": MEMIT}), dataset="geography", planned=planned)
        missing = table.frame[table.frame["k"] == "--"]
        assert list(zip(missing["model"], missing["method"], strict=True)) == planned[1:]
        assert table.frame.loc[missing.index, list(table.columns)].isna().all(axis=None)
        assert "--: not run." in table.footnotes
        assert r"& {--} & {--}" in typesetting.to_latex(table)
    empty = build("neighbor", frame({})[0:0], dataset="geography", planned=[("b", "NA_PMET")])
    assert rows(empty) == ["Unedited 0", "NA_PMET --"]


def test_a_method_may_be_shown_at_other_iterations():
    shown = {("GPT-2 XL (1.5B)", "ROME"): (1, 2)}
    table = build("iterative", frame(ALL), dataset="geography", shown=shown)
    assert rows(table)[1:3] == ["ROME 1", "ROME 2"] and bold(table, "ROME 1") == set()


class Cells(HTMLParser):
    """The words of every table row, and the elements that were left open."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def test_html_holds_the_same_cells_as_the_table():
    names = {"GPT-2 XL (1.5B)": "<GPT> & 2"}
    for name in T.SPECS:
        table = build(name, frame(ALL, trials=2, drift=0.01), dataset="geography", names=names)
        html = typesetting.to_html(table, "Table 1")
        parsed = Cells(html)
        assert parsed.open == [] and "<GPT>" not in html and "&lt;GPT&gt; &amp; 2" in html
        body = parsed.rows[2:]
        assert len(body) == len(table.frame)
        for i, cells in enumerate(body):
            printed = [
                typesetting.html_value(table.frame.loc[i, c], M.METRICS[c].unit)
                for c in table.columns
            ]
            assert cells[-len(table.columns) :] == [re.sub("<.*?>", "", str(p)) for p in printed]


def test_marked_text_becomes_latex_and_html():
    text = "**bold** *k* `NA_` |Δp_k| ≤ 1 & p(θ_k, h̄_k)"
    assert typesetting.markup_tex(text) == (
        r"\textbf{bold} \emph{k} \texttt{NA\_} $|\Delta p_k|$ \ensuremath{\le} 1 \&"
        r" $p(\theta_k,\bar h_k)$"
    )
    assert (
        typesetting.markup_html("**a<b** *k* `x&`") == "<b>a&lt;b</b> <i>k</i> <code>x&amp;</code>"
    )
