"""Figures: the right numbers beside them, reproducible bytes, and no crash on degenerate data."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import is_color_like
from matplotlib.lines import lineStyles
from matplotlib.markers import MarkerStyle
from scipy import stats

from modeledit.presentation.figures import neighbor_count, underedit
from modeledit.presentation.figures import perplexity_stages as F
from modeledit.presentation.figures import style as D
from modeledit.study.methods import METHODS

PNG = b"\x89PNG\r\n\x1a\n"


def edit_log(*stages, request=7):
    """Logs of one edit from p_init, p_bar_1, p_hat_1, p_bar_2, ..."""
    p_init, *rest = stages
    logs = {}
    for k, (p_bar, p_hat) in enumerate(zip(rest[::2], rest[1::2], strict=True), start=1):
        row = {"request": [request], "p_init": [p_init], "p_bar": [p_bar], "p_hat": [p_hat]}
        logs[k] = pd.DataFrame(row)
        p_init = p_hat
    return logs


def batch(n=40, iterations=4, seed=0, missed=0.2):
    """Logs and per-request metrics of n edits that improve from iteration to iteration."""
    rng = np.random.default_rng(seed)
    p, draw = np.exp(rng.normal(7, 2, n)), rng.random(n)
    logs, requests = {}, {}
    for k in range(1, iterations + 1):
        p_bar = 1 + np.abs(rng.normal(0.03, 0.02, n))
        p_hat = p_bar + (p - 1) * np.exp(-rng.uniform(1, 4, n)) * (draw < 0.5)
        ids = {"request": np.arange(n)}
        logs[k] = pd.DataFrame(ids | {"p_init": p, "p_bar": p_bar, "p_hat": p_hat})
        fails = draw < missed * 0.3 ** (k - 1)
        requests[k] = pd.DataFrame(ids | {"eff_acc": 1.0 - fails, "eff_succ": 1.0 - fails})
        p = p_hat
    return requests, logs


def values(record):
    return [stage["perplexity"] for stage in record["stages"]]


# ---- Figure 3


def test_stages_end_at_the_rule(tmp_path):
    logs = edit_log(5.98e5, 1.04, 1360.0, 1.03, 1.6, 1.02, 1.1)
    path = tmp_path / "out" / "stages.png"
    record = F.figure_perplexity_stages(logs, path, request=7, label="Lyon: France → Japan")
    assert values(record) == [5.98e5, 1.04, 1360.0, 1.03, 1.6] and record["met"]
    assert [s["stage"] for s in record["stages"]] == ["Unedited"] + ["p_bar", "p_hat"] * 2
    assert [s["k"] for s in record["stages"]] == [0, 1, 1, 2, 2]
    assert record["lambda"] == pytest.approx(stats.boxcox(values(record))[1])
    assert path.read_bytes().startswith(PNG)
    assert json.loads(path.with_suffix(".json").read_text(encoding="utf-8")) == record
    files = sorted(p.name for p in path.parent.iterdir())
    assert files == ["stages.json", "stages.pdf", "stages.png"]


def test_an_unmet_rule_shows_every_iteration(tmp_path):
    record = F.figure_perplexity_stages(edit_log(90.0, 1.1, 40.0, 1.1, 9.0), tmp_path / "a.png")
    assert len(record["stages"]) == 5 and not record["met"]
    record = F.figure_perplexity_stages(
        edit_log(90.0, 1.1, 40.0, 1.1, 9.0), tmp_path / "a.png", epsilon=10
    )
    assert record["met"]


@pytest.mark.parametrize(
    ("stages", "reason"),
    [
        ((5.0, 5.0, 5.0), "equal"),
        ((9.0, math.inf, math.inf), "fewer than three"),
        ((math.nan, math.nan, math.nan), "fewer than three"),
    ],
)
def test_degenerate_values_get_a_log_axis_and_say_so(tmp_path, stages, reason):
    record = F.figure_perplexity_stages(edit_log(*stages), tmp_path / "a.png", note="small")
    assert record["scale"] == "log" and record["lambda"] is None
    assert reason in record["why_log"]
    assert (tmp_path / "a.png").read_bytes().startswith(PNG)
    json.loads((tmp_path / "a.json").read_text())  # infinities have become null


def test_an_infinite_perplexity_does_not_spoil_the_scale(tmp_path):
    record = F.figure_perplexity_stages(
        edit_log(50.0, 1.1, math.inf, 1.2, 30.0), tmp_path / "a.png"
    )
    assert record["lambda"] == pytest.approx(stats.boxcox([50.0, 1.1, 1.2, 30.0])[1])


def test_a_shrinking_log_ends_the_edit(tmp_path):
    logs = edit_log(90.0, 1.1, 40.0)
    logs[2] = logs[1].iloc[:0]  # passed on: the run had stopped
    assert len(F.figure_perplexity_stages(logs, tmp_path / "a.png")["stages"]) == 3


def test_an_unknown_request_is_named(tmp_path):
    with pytest.raises(ValueError, match="request 8"):
        F.figure_perplexity_stages(edit_log(90.0, 1.1, 40.0), tmp_path / "a.png", request=8)
    assert not list(tmp_path.iterdir())


def test_default_pick_is_the_first_underedit_or_the_farthest():
    _, logs = batch()
    first = logs[1]
    far = int(first.loc[(first["p_hat"] - first["p_bar"]).abs().idxmax(), "request"])
    assert F.pick_request(logs, [30, 12, 999]) == 12
    assert F.pick_request(logs) == F.pick_request(logs, [999]) == far
    with pytest.raises(ValueError, match="no edits"):
        F.pick_request({1: first.iloc[:0]})


@given(st.lists(st.floats(1.0, 1e12), max_size=20))
def test_the_scale_keeps_the_order_of_perplexities(perplexities):
    lam, reason = F.boxcox_lambda(np.array(perplexities))
    assert (lam is None) == bool(reason)
    distinct = np.unique(perplexities)
    if lam is not None:
        assert (np.diff(F._scaled(distinct, lam)) > 0).all() and F._scaled(1.0, lam) == 0
        ticks = F._perplexity_ticks(lam, float(F._scaled(distinct[-1], lam)))
        assert ticks[0] == 1.0 and ticks == sorted(set(ticks))


@settings(max_examples=8, deadline=None)
@given(st.lists(st.floats(1.0, 1e15), min_size=1, max_size=10), st.floats(1.0, 1e15))
def test_any_edit_can_be_drawn(tmp_path_factory, p_hat, p_init):
    folder = tmp_path_factory.mktemp("any")
    stages = [p_init] + [value for hat in p_hat for value in (1.02, hat)]
    record = F.figure_perplexity_stages(edit_log(*stages), folder / "a.png")
    assert values(record) == stages[: len(record["stages"])]


# ---- Figure 4


def test_underedit_follows_the_subset(tmp_path):
    requests, logs = batch()
    record = underedit.figure_underedit(requests, logs, tmp_path / "u.png", note="a small model")
    chosen = requests[1].loc[requests[1]["eff_succ"] == 0, "request"].tolist()
    assert chosen and record["underedit_ids"] == chosen and record["n_all"] == 40
    series = record["series"]
    assert series["UnderEdit"]["eff_acc"][0] == 0
    assert series["All"]["eff_acc"][0] == pytest.approx(1 - len(chosen) / 40)
    subset = logs[2].iloc[chosen]
    assert series["UnderEdit"]["dp"][1] == pytest.approx(
        abs(subset["p_hat"].mean() - subset["p_bar"].mean())
    )
    assert record["log_axis"] and record["k"] == [1, 2, 3, 4]
    assert json.loads((tmp_path / "u.json").read_text()) == record


def test_no_underedit_at_all(tmp_path):
    requests, logs = batch(missed=0.0)
    record = underedit.figure_underedit(requests, logs, tmp_path / "u.png")
    assert record["n_underedit"] == 0 and (tmp_path / "u.png").read_bytes().startswith(PNG)


def test_underedit_of_one_iteration_or_a_collapse(tmp_path):
    requests, logs = batch(iterations=1)
    assert underedit.figure_underedit(requests, logs, tmp_path / "u.png")["k"] == [1]
    requests, logs = batch(iterations=2)
    logs[2]["p_hat"] = math.inf
    record = underedit.figure_underedit(requests, logs, tmp_path / "u.png")
    assert record["series"]["All"]["dp"][1] == math.inf


def test_a_value_that_is_no_number_is_not_left_out(tmp_path):
    requests, logs = batch(iterations=2)
    logs[2].loc[3, "p_hat"] = math.nan
    logs[1].loc[3, ["p_bar", "p_hat"]] = math.inf
    record = underedit.figure_underedit(requests, logs, tmp_path / "u.png")
    assert record["series"]["All"]["dp"] == [math.inf, math.inf]


def test_bad_iterations_are_refused(tmp_path):
    requests, logs = batch()
    with pytest.raises(ValueError, match="iteration 1 is missing"):
        underedit.figure_underedit({2: requests[2]}, logs, tmp_path / "u.png")
    twice = {k: pd.concat([v, v]) for k, v in requests.items()}
    with pytest.raises(ValueError, match="request 0 occurs twice"):
        underedit.figure_underedit(twice, logs, tmp_path / "u.png")


# ---- all


def test_the_same_data_give_the_same_bytes(tmp_path):
    requests, logs = batch()
    for name in ("one", "two"):
        F.figure_perplexity_stages(logs, tmp_path / f"stages-{name}.png", label="x")
        underedit.figure_underedit(requests, logs, tmp_path / f"under-{name}.png")
    for kind in ("stages", "under"):
        for ending in ("png", "pdf"):
            first, second = (
                (tmp_path / f"{kind}-{n}.{ending}").read_bytes() for n in ("one", "two")
            )
            assert first == second
        assert b"Software" not in (tmp_path / f"{kind}-one.png").read_bytes()


def test_the_pdf_embeds_its_fonts_and_has_no_date(tmp_path):
    F.figure_perplexity_stages(edit_log(90.0, 1.1, 40.0), tmp_path / "a.png")
    pdf = (tmp_path / "a.pdf").read_bytes()
    assert pdf.startswith(b"%PDF-") and b"/FontFile2" in pdf and b"/Type3" not in pdf
    assert b"CreationDate" not in pdf and b"Producer" not in pdf


def test_a_figure_that_fails_leaves_no_half(tmp_path, monkeypatch):
    def broken(*_, format, **__):
        raise OSError(f"no room for the {format}")

    figure = D.new_figure(1, 1)
    monkeypatch.setattr(figure, "savefig", broken)
    with pytest.raises(OSError, match="no room"):
        D.save(figure, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


# ---- colours, markers, lines, text


def test_every_method_looks_like_no_other():
    looks = {(D.COLOURS[m], D.MARKERS[m], D.LINES[m]) for m in METHODS}
    assert len(looks) == len(METHODS)
    in_paper = [name for name, method in METHODS.items() if method.in_paper]
    for look in (D.COLOURS, D.MARKERS):  # either alone is enough for the paper's methods
        assert len({look[name] for name in in_paper}) == len(in_paper)
    for name in (*METHODS, "Unedited"):  # and matplotlib knows all of them
        MarkerStyle(D.MARKERS[name])
        assert is_color_like(D.COLOURS[name]) and D.LINES[name] in lineStyles


def test_more_neighbors_keep_the_familys_colour():
    for name, method in METHODS.items():
        if method.n_neighbors > 1:
            family = f"{'NAP' if method.neighbor_prefixed else 'NA'}_{method.algorithm}"
            assert D.COLOURS[name] == D.COLOURS[family] and D.LINES[name] == D.LINES[family]
            assert D.MARKERS[name] != D.MARKERS[family]


def test_every_series_has_a_look_of_its_own():
    assert {"All", "UnderEdit"} <= set(D.COLOURS) & set(D.MARKERS) & set(D.LINES)
    for look in (D.COLOURS, D.MARKERS, D.LINES):
        assert look["All"] != look["UnderEdit"]
    assert set(F.STAGES) <= set(D.COLOURS) and set(F.STAGES) == set(F.HATCHES)


@given(
    st.text(max_size=60), st.floats(0.3, 3), st.integers(1, 3), st.sampled_from(["start", "end"])
)
def test_text_is_cut_to_its_room(text, width, lines, keep):
    text = D.printable(text)
    fitted = D.fit(text, width, 6, lines, keep)
    assert 1 <= len(fitted) <= lines
    assert all(D.text_width(line, 6) <= width for line in fitted)
    joined = " ".join(fitted)
    if "…" not in joined:
        assert joined == " ".join(text.split())
    elif "…" not in text:
        kept = joined.replace("…", "").strip()
        whole = " ".join(text.split())
        assert whole.startswith(kept) if keep == "start" else whole.endswith(kept)


def test_what_the_font_lacks_is_escaped():
    assert D.printable("Zürich é → 5 €") == "Zürich é → 5 €"
    assert D.printable("a\n\tb") == "a↵⇥b"
    assert D.printable("東\x07") == "\\u6771\\x07"


def test_neighbor_count_draws_what_it_was_given(tmp_path):
    rows = []
    for n, method in enumerate(("MEMIT", "NA_MEMIT", "NA2_MEMIT", "NAP_MEMIT", "PMET")):
        values = {name: 0.5 + 0.1 * n for name in neighbor_count.NEIGHBOR_COUNT}
        spread = {f"{name}_sd": 0.01 for name in neighbor_count.NEIGHBOR_COUNT}
        rows.append({"method": method, "k_text": "2", "n_requests": 9.0} | values | spread)
    path = tmp_path / "study.png"
    stops = pd.DataFrame(rows).iloc[::-1]
    record = neighbor_count.figure_neighbor_count(stops, path, algorithm="MEMIT", title="t")
    assert record["n_neighbors"] == [0, 1, 2]
    assert record["series"]["spec_acc"] == [0.5, 0.6, 0.7]
    assert path.read_bytes().startswith(b"\x89PNG")
    assert json.loads(path.with_suffix(".json").read_text()) == record
    with pytest.raises(ValueError, match="PMET was run with 1 numbers"):
        neighbor_count.figure_neighbor_count(stops, path, algorithm="PMET")


def test_trials_that_number_their_requests_alike_are_drawn_together():
    first = {1: pd.DataFrame({"request": [0, 1], "v": [1, 2]})}
    second = {k: pd.DataFrame({"request": [0, 1], "v": [10 * k, 20 * k]}) for k in (1, 2)}
    pooled = underedit.pool_trials({1: first, 2: second})
    assert pooled[1]["request"].tolist() == [0, 1, 1_000_000, 1_000_001]
    assert pooled[1]["v"].tolist() == [1, 2, 10, 20]
    assert pooled[2]["v"].tolist() == [1, 2, 20, 40]  # trial 1 had stopped
