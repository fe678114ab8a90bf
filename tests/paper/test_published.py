"""The paper's numbers: as transcribed, and back out of our own selection and formatting."""

import json
import math
import re
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import yaml

from modeledit.evaluation import aggregation
from modeledit.evaluation import metrics as M
from modeledit.paper import published
from modeledit.presentation import tables, typesetting
from modeledit.study.stopping import Rule
from tests.presets import averaging

ORIGINAL = Path(__file__).resolve().parents[3] / "shared" / "published_tables.json"
MODELS = {
    "GPT-2 XL (1.5B)": "gpt2-xl",
    "GPT-J (6B)": "gpt-j-6b",
    "Llama-2 (7B)": "llama-2-7b",
}
XL, GPT_J, LLAMA = MODELS.values()
CF, ELIGIBLE, ZSRE = "counterfact", "counterfact-eligible", "zsre"
ROWS = {1: 18, 2: 13, 3: 7, 4: 18, 6: 53, 7: 53, 8: 73, 9: 46, 10: 66}  # SPEC I.d


@pytest.fixture(scope="module")
def printed():
    return published.read_tables()


@pytest.fixture(scope="module")
def suspects():
    return published.read_suspects()


def rows_of(frame, number, dataset=None):
    """{(dataset, model, method, k): row} of a printed table."""
    rows = frame[(frame["table"] == number) & (frame["dataset"] == (dataset or frame["dataset"]))]
    return {(r["dataset"], r["model"], r["method"], r["k"]): r for r in rows.to_dict("records")}


def filled(row, columns=tuple(M.METRICS)):
    return [name for name in columns if not math.isnan(row[name])]


# ---- the transcription


@pytest.fixture(scope="module")
def original():
    if not ORIGINAL.exists():
        pytest.skip(f"the original transcription is not at {ORIGINAL}")
    return json.loads(ORIGINAL.read_text(encoding="utf-8"))


def translate(name):
    return "me_ppl" if name == "me_ppl_50" else name


def test_tables_hold_the_original_numbers_and_flags(original, printed):
    assert len(original["records"]) == len(printed) == 347
    for record, row in zip(original["records"], printed.to_dict("records"), strict=True):
        dataset = {"COUNTERFACT": CF, "ZsRE": ZSRE}[record["dataset"]]
        assert row["dataset"] == dataset + ("-eligible" if record["table"] in (2, 3, 8, 9) else "")
        assert row["model"] == MODELS[record["model"]]
        assert (row["table"], row["method"], row["k"]) == (
            record["table"],
            record["algo"],
            record["k"],
        )
        assert row["n_requests"] == record.get("n_edits") or (
            math.isnan(row["n_requests"]) and "n_edits" not in record
        )
        numbers = {translate(name): record.get(name) for name in original["columns"]}
        assert set(numbers) == set(M.METRICS)
        for name, value in numbers.items():
            assert row[name] == value or (value is None and math.isnan(row[name])), (record, name)
        for flag in published.FLAGS:
            assert set(row[flag]) == {translate(name) for name in record.get(flag, ())}
        assert row["compared"] == ("bold_by_rule" in record)
        assert row["note"] == (record["note"] or "").replace("see SPEC I)", "SPEC I.b, P1)")


def test_hardware_holds_the_original_cells(original):
    ours = published.read_hardware().to_dict("records")
    theirs = [
        {
            "dataset": {"COUNTERFACT": CF, "ZsRE": ZSRE}[cell["dataset"]],
            "model": MODELS[cell["model"]],
            "method": cell["algo"],
            "gpu": cell["gpu"],
            "note": cell["note"] or "",
        }
        for cell in original["table5"]
    ]
    assert ours == theirs and len(ours) == 18


def test_every_printed_row_is_there(printed):
    assert printed["table"].value_counts().to_dict() == ROWS
    compared = printed[printed["compared"]]
    assert compared["table"].value_counts().to_dict() == {1: 10, 2: 8, 6: 10, 7: 10, 8: 8}
    hardware = published.read_hardware()
    # SPEC G.1: all GPT-2 XL cells, and three others, ran on the smaller device.
    small = hardware[hardware["gpu"] == "L40S (48GB)"]
    assert Counter(small["model"]) == {XL: 6, GPT_J: 1, LLAMA: 2}


def test_bad_files_are_refused(tmp_path, printed):
    text = (published.FOLDER / "tables.csv").read_text(encoding="utf-8")
    target = tmp_path / "tables.csv"
    target.write_text(text.replace("yes,spec_acc,spec_acc", "yes,specacc,spec_acc"))
    with pytest.raises(ValueError, match="tables.csv: bold_in_text.*specacc.*eff_acc"):
        published.read_tables(tmp_path)
    target.write_text(text.replace("p_hat", "phat", 1))
    with pytest.raises(ValueError, match="tables.csv: missing columns.*p_hat"):
        published.read_tables(tmp_path)
    lines = text.splitlines()
    target.write_text("\n".join([*lines, lines[1]]))
    with pytest.raises(ValueError, match="occurs twice"):
        published.read_tables(tmp_path)
    with pytest.raises(ValueError, match=r"published table 5: not one of \[1, 2"):
        published.as_metrics(5, printed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": "fatal"}, "entry 1: weight.*fatal.*suspect, remark"),
        ({"metrics": ["me_ppl_50"]}, "entry 1: metrics.*me_ppl_50.*me_ppl"),
        ({"implied": [{"method": "MEMIT", "k": 1, "values": {"eff": 1}}]}, "entry 1.*eff"),
        ({"rows": [1]}, "entry 1: unknown keys.*rows.*allowed.*tables"),
    ],
)
def test_bad_suspects_are_refused(tmp_path, change, message):
    entry = {"id": "P1", "tables": [1], "weight": "suspect", "reason": "because"}
    (tmp_path / "suspects.yaml").write_text(yaml.safe_dump([entry]))
    (found,) = published.read_suspects(tmp_path)
    assert found.selects({"table": 1, "dataset": "", "model": "", "method": "", "k": 3}, "dp")
    (tmp_path / "suspects.yaml").write_text(yaml.safe_dump([entry | change]))
    with pytest.raises(ValueError, match=message):
        published.read_suspects(tmp_path)
    (tmp_path / "suspects.yaml").write_text(yaml.safe_dump([{"id": "P1"}]))
    with pytest.raises(ValueError, match="missing keys.*reason"):
        published.read_suspects(tmp_path)


# ---- what is wrong with it


def test_every_paragraph_of_the_list_is_there_and_selects_rows(printed, suspects):
    assert {s.id for s in suspects} == {f"P{i}" for i in range(1, 18)} | {"I.c"}
    rows = printed.to_dict("records")
    for s in suspects:
        found = [row for row in rows for name in s.metrics or M.METRICS if s.selects(row, name)]
        assert bool(found) == bool(s.tables), s
        selected = {(row["method"], row["k"]) for row in found}
        assert {(method, k) for method, k, _ in s.implied} <= selected


def test_damaged_cells_are_those_with_an_entry(printed, suspects):
    damaged = [s for s in suspects if s.id == "I.c"]
    for row in printed.to_dict("records"):
        for name in M.METRICS:
            known = published.suspicion(row, name, suspects)
            if name in row["uncertain"]:
                assert known, (row, name)
            elif not math.isnan(row[name]):
                assert not published.suspicion(row, name, damaged), (row, name)


def test_suspicion_names_the_reason_and_what_is_implied(printed, suspects):
    row = rows_of(printed, 6)[(CF, GPT_J, "MEMIT", 2)]
    (found,) = published.suspicion(row, "me_ppl", suspects)
    assert (found.id, found.weight, found.implied) == ("P1", "suspect", 45.0)
    assert "zsRE" in found.reason
    assert published.suspicion(row, "p_bar", suspects)[0].implied is None
    assert not published.suspicion(rows_of(printed, 6)[(CF, XL, "MEMIT", 2)], "me_ppl", suspects)
    assert not published.suspicion(rows_of(printed, 6)[(CF, GPT_J, "ROME", 1)], "dp", suspects)


@pytest.mark.parametrize(
    ("paragraph", "mixed", "stranger"),
    [("P1", (6, CF, GPT_J), (7, ZSRE, GPT_J)), ("P2", (7, ZSRE, LLAMA), (7, ZSRE, GPT_J))],
)
def test_implied_values_undo_the_mixture_of_trials(printed, suspects, paragraph, mixed, stranger):
    """Two trials of one kind and one of another: (3 x printed - stranger) / 2."""
    (entry,) = (s for s in suspects if s.id == paragraph)
    assert len(entry.implied) >= 9
    theirs, strangers = rows_of(printed, mixed[0]), rows_of(printed, stranger[0])
    for (method, k, name), value in entry.implied.items():
        a = theirs[(*mixed[1:], method, k)][name]
        b = strangers[(*stranger[1:], method, k)][name]
        # Printed means are rounded to 0.01 pp, implied ones to 0.1 pp; perplexities to 0.01.
        assert (3 * a - b) / 2 == pytest.approx(value, abs=0.03 if name == "me_ppl" else 0.001)


def test_implied_values_of_shifted_rows_and_of_the_other_formula(printed, suspects):
    (shifted,) = (s for s in suspects if s.id == "P4")
    table = rows_of(printed, 9)
    for (method, k, name), value in shifted.implied.items():
        assert table[(ELIGIBLE, XL, method, k + 1)][name] == value
    (formula,) = (s for s in suspects if s.id == "P5")
    assert sorted(k for _, k, _ in formula.implied) == [5, 6, 7, 8, 9, 10]
    steps = {
        k: row
        for (_, model, m, k), row in rows_of(printed, 6).items()
        if (model, m) == (XL, "PMET")
    }
    other = rows_of(printed, 10, CF)
    for (method, k, name), value in formula.implied.items():
        now, before = steps[k], steps[k - 1]
        assert abs(now["p_hat"] - before["p_hat"]) == pytest.approx(value, abs=0.006)
        assert abs(now["dp"] - before["dp"]) == pytest.approx(
            other[(CF, XL, method, k)][name], abs=0.07
        )


# ---- the tables among each other (SPEC I.d)


@pytest.mark.parametrize(
    ("small", "large", "columns", "equal", "unequal"),
    [
        (8, 9, M.METRICS, 363, []),
        (10, 6, ("score_acc", "score_succ", "dp"), 88, [(CF, XL, "PMET", 3, "dp")]),
        (10, 7, ("score_acc", "score_succ", "dp"), 89, []),
    ],
)
def test_tables_that_repeat_each_other_agree(printed, small, large, columns, equal, unequal):
    one, two = rows_of(printed, small), rows_of(printed, large)
    cells = [(*key, name) for key in one if key in two for name in filled(one[key], columns)]
    differ = [c for c in cells if one[c[:-1]][c[-1]] != two[c[:-1]][c[-1]]]
    assert (len(cells) - len(differ), differ) == (equal, unequal)


def half_digit(value):
    """Half of the last printed digit: two decimals, or three significant digits."""
    if abs(value) >= 1000 and float(f"{value:.2e}") == value:
        return 0.5 * 10.0 ** (math.floor(math.log10(abs(value))) - 2)
    return 0.005


def test_dp_is_the_difference_of_the_two_perplexities(printed):
    rows = [
        row for row in printed.to_dict("records") if len(filled(row, ("p_bar", "p_hat", "dp"))) == 3
    ]
    beyond = []
    for row in rows:
        rounding = sum(half_digit(row[name]) for name in ("p_bar", "p_hat", "dp"))
        if abs(abs(row["p_hat"] - row["p_bar"]) - row["dp"]) > rounding * 1.001:
            beyond.append((row["table"], row["model"], row["method"], row["k"]))
    assert len(rows) == 185
    # Signs (P6), and one damaged cell.
    assert beyond == [(6, XL, "ROME", 4), (6, XL, "PMET", 3), (6, GPT_J, "ROME", 2)]


# ---- through our own selection and formatting

# Which tables, through which spec, give which printed table back.
LLAMA_MEMIT = {(LLAMA, "MEMIT"): (1, 2)}  # printed though k = 2 is no stop (P11)
TRIPS = {
    1: [("iterative", 6, CF, LLAMA_MEMIT)],
    2: [("neighbor", 8, ELIGIBLE, None)],
    3: [("prefix", 9, ELIGIBLE, None)],
    4: [("stopping", 10, CF, None), ("stopping", 10, ZSRE, None)],
    6: [("iterative_all", 6, CF, None)],
    7: [("iterative_all", 7, ZSRE, None)],
    8: [("neighbor_all", 8, ELIGIBLE, None)],
    9: [("prefix_all", 9, ELIGIBLE, None)],
    10: [("stopping_all", 10, CF, None), ("stopping_all", 10, ZSRE, None)],
}
CELLS = {1: 171, 2: 120, 3: 26, 4: 53, 6: 608, 7: 608, 8: 817, 9: 539, 10: 220}
SCIENTIFIC = {1: 1, 6: 2, 7: 4, 10: 3}  # printed with more than our three significant digits
OTHER = {
    # Table 10's last digit is clipped in the text (I.c).
    (4, ZSRE, XL, "PMET", 7, "dp2"): (0.11, 0.10),
    (4, ZSRE, GPT_J, "MEMIT", 2, "dp2"): (1.65, 1.60),
    (4, ZSRE, GPT_J, "PMET", 3, "dp2"): (0.07, 0.00),
    # Printed with a sign (P6).
    (6, CF, XL, "ROME", 4, "dp"): (-1.91e6, 1.91e6),
    (6, CF, GPT_J, "ROME", 2, "dp"): (-1.75e12, 1.75e12),
}
# |dp| of k = 9 and 10 is printed as 0.01: a tie counts as no decrease (SPEC C.5).
NOT_PRINTED = {4: [(ZSRE, XL, "PMET", 9)]}
PLAIN = {
    # Printed bold beside an equal value; a tie has no winner.
    (6, CF, XL, "MEMIT", 4, "spec_succ"),
    (8, ELIGIBLE, XL, "MEMIT", 4, "eff_acc"),
    (8, ELIGIBLE, XL, "MEMIT", 4, "eff_succ"),
}


MEAN = Rule("mean")


def built(name, source, dataset, shown=None):
    metrics = published.as_metrics(source)
    models = [m for m in MODELS.values() if m in set(metrics["model"])]
    selection = tables.Selection(dataset, models, shown=shown or {})
    return tables.build(name, metrics, selection, averaging(MEAN), tables.Words(dataset))


def html_cells(table):
    cells = re.findall(r'<td class="(number.*?)">(.*?)</td>', typesetting.to_html(table))
    return [("bold" in kind, re.sub(r"×10<sup>(.*?)</sup>", r"e\1", text)) for kind, text in cells]


def latex_cells(table):
    found = []
    for line in typesetting.to_latex(table).splitlines():
        parts = re.sub(r"\\cellcolor\{\w+\} ", "", line).removesuffix("*").split(" & ")
        if line.rstrip("*").endswith(r" \\") and len(parts) == 3 + table.show_rules + len(
            table.columns
        ):
            found += [part.removesuffix(r" \\") for part in parts[-len(table.columns) :]]
    cells = found[len(table.columns) * (2 if table.long else 1) :]  # the heads
    return [(r"\bfseries" in c, re.sub(r"\\bfseries |\\num|[{}]", "", c)) for c in cells]


def number(text):
    return math.nan if text == "--" else float(text)


@pytest.mark.parametrize("form", [html_cells, latex_cells])
@pytest.mark.parametrize("target", TRIPS)
def test_the_printed_table_comes_back_cell_by_cell(printed, target, form):
    same, shortened, other, more, missing = 0, 0, {}, [], set(rows_of(printed, target))
    for name, source, dataset, shown in TRIPS[target]:
        theirs = rows_of(printed, target, dataset)
        table = built(name, source, dataset, shown)
        texts = iter(form(table))
        for _, row in table.frame.iterrows():
            key = (dataset, row["model"], row["method"], int(row["k"]))
            values = {column: number(next(texts)[1]) for column in table.columns}
            if key not in theirs:
                more.append(key)
                continue
            missing.discard(key)
            for column, ours in values.items():
                value = theirs[key][column]
                value *= 100 if M.METRICS[column].unit == "fraction" else 1
                if math.isnan(value):
                    assert math.isnan(ours), (key, column)
                elif ours == (float(f"{value:.2e}") if value >= 1e5 else round(value, 2)):
                    same += 1
                    shortened += not math.isclose(ours, value, rel_tol=1e-12)
                else:
                    other[(target, *key, column)] = (value, ours)
        assert next(texts, None) is None
    assert other == {cell: pair for cell, pair in OTHER.items() if cell[0] == target}
    assert same + len(other) == CELLS[target] and not missing
    assert shortened == SCIENTIFIC.get(target, 0)
    assert more == NOT_PRINTED.get(target, [])


@pytest.mark.parametrize("form", [html_cells, latex_cells])
@pytest.mark.parametrize(
    # The text has lost marks, 10 of them in Tables 1 and 2 (SPEC G.1).
    ("target", "marks", "by_rule"),
    [(1, 31, 35), (2, 23, 29), (6, 8, 35), (7, 1, 28), (8, 4, 29)],
)
def test_what_is_bold_in_the_text_is_bold_in_ours(printed, target, marks, by_rule, form):
    plain, count, ours = set(), 0, 0
    for name, source, dataset, shown in TRIPS[target]:
        theirs = rows_of(printed, target, dataset)
        table = built(name, source, dataset, shown)
        texts = iter(form(table))
        for _, row in table.frame.iterrows():
            key = (dataset, row["model"], row["method"], int(row["k"]))
            bold = {column for column in table.columns if next(texts)[0]}
            count, ours = count + len(theirs[key]["bold_in_text"]), ours + len(bold)
            plain |= {(target, *key, name) for name in set(theirs[key]["bold_in_text"]) - bold}
            # Nothing but the rule: rows that do not compete stay plain.
            assert bold == set(theirs[key]["bold_by_rule"]), key
    assert (count, ours) == (marks, by_rule)
    assert plain == {cell for cell in PLAIN if cell[0] == target}


# SPEC C.5: what each criterion picks; None where it never fires.
PICKS = {
    (CF, XL, "MEMIT"): (4, None, None),
    (ZSRE, XL, "MEMIT"): (3, None, 4),
    (CF, XL, "PMET"): (10, None, None),
    (ZSRE, XL, "PMET"): (6, 9, 7),  # 9 by a tie of printed values, 0.01 and 0.01
    (CF, GPT_J, "MEMIT"): (2, 2, None),
    (ZSRE, GPT_J, "MEMIT"): (2, 3, 3),  # orange 3 by a tie of printed values, 0.00 and 0.00
    (CF, GPT_J, "PMET"): (3, 1, 4),
    (ZSRE, GPT_J, "PMET"): (2, None, 3),
    (CF, LLAMA, "PMET"): (2, 2, 3),
    (ZSRE, LLAMA, "PMET"): (2, None, 3),
}
CRITERIA = list(tables.RULES)


def test_the_stopping_criteria_pick_the_printed_rows(printed):
    runs = ["dataset", "model", "method"]
    found = aggregation.pick_table(published.as_metrics((6, 7)), MEAN).set_index(runs)[CRITERIA]
    for run, expected in PICKS.items():
        assert tuple(None if pd.isna(k) else k for k in found.loc[run]) == expected, run
    # Table 10 has no perplexities but their change.
    seen = {run: dict.fromkeys(CRITERIA) for run in PICKS}
    for dataset in (CF, ZSRE):
        for _, row in built("stopping_all", 10, dataset).frame.iterrows():
            for rule in filter(None, row["rules"].split("+")):
                seen[(dataset, row["model"], row["method"])][rule] = int(row["k"])
    assert {run: tuple(rules.values()) for run, rules in seen.items()} == PICKS
    # Table 4 prints their union, but for the tie.
    union = {(*run, k) for run, ks in PICKS.items() for k in ks if k}
    assert union - set(rows_of(printed, 4)) == set(NOT_PRINTED[4])
    assert set(rows_of(printed, 4)) <= union


def test_nothing_else_meets_the_rule(printed):
    found = aggregation.pick_table(published.as_metrics((6, 7, 8, 9)), MEAN)
    stops = found.set_index(["dataset", "model", "method"])["proposed"]
    never = {run for run, k in stops.items() if pd.isna(k)}
    rome = {(d, m, "ROME") for d in (CF, ZSRE) for m in MODELS.values()}
    collapsed = {(CF, LLAMA, "MEMIT"), (ZSRE, LLAMA, "MEMIT"), (ELIGIBLE, LLAMA, "NA_PMET")}
    assert never == rome | collapsed  # P10
    eligible = {run[1:]: k for run, k in stops.items() if run[0] == ELIGIBLE and run not in never}
    assert eligible == {
        (XL, "MEMIT"): 4, (XL, "NA_MEMIT"): 4, (XL, "NAP_MEMIT"): 4, (XL, "PMET"): 8,
        (XL, "NA_PMET"): 9, (XL, "NAP_PMET"): 8, (GPT_J, "MEMIT"): 2, (GPT_J, "NA_MEMIT"): 2,
        (GPT_J, "PMET"): 1, (GPT_J, "NA_PMET"): 6, (LLAMA, "PMET"): 3,
    }  # fmt: skip


def test_tables_as_if_measured(printed):
    metrics = published.as_metrics((10, 6))
    assert list(metrics.columns) == list(M.COLUMNS)
    assert not metrics.duplicated([*M.RUN, "k"]).any()
    at = metrics.set_index(["dataset", "model", "method", "k"])
    # dp and dp2 from the table named first, the rest from the second.
    assert at.loc[(CF, XL, "PMET", 3), ["dp", "dp2", "p_hat"]].tolist() == [5025.56, 21700, 5123.07]
    assert at.loc[(CF, XL, "PMET", 0), ["eff_succ", "n_requests"]].tolist() == [0.2167, 1000]
    assert at.loc[(CF, XL, "ROME", 4), "dp"] == 1.91e6  # P6
    runs = metrics.groupby(["dataset", "model", "method"])["k"]
    assert (runs.min() == 0).all() and (runs.max() == runs.size() - 1).all()
