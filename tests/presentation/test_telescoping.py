"""What iterating AlphaEdit comes to: residuals of the logs, curves, the sentence, the figure."""

import json
import math

import pandas as pd
import pytest

from modeledit.presentation.figures import telescoping as F
from modeledit.presentation.figures.subject import Subject
from modeledit.study.layout import IterationFiles, RunKey
from modeledit.study.stopping import Rule
from scripts.draw_telescoping import draw_telescoping
from tests.presentation.test_tables import frame
from tests.presets import averaging

MODEL, DATASET = "smollm2-135m", "geography"
PNG = b"\x89PNG"
AVERAGING = averaging(Rule("trial"))
FRESH, GROWING = "FRESH_AlphaEdit", "GROWING_AlphaEdit"
# share of the first residual that is left after k = 1, 2, 3, and efficacy, in percent
LEFT = {
    FRESH: ((0.5, 60), (0.2, 80), (0.1, 90)),
    GROWING: ((0.5, 60), (0.4, 64), (0.3, 70)),
    f"SPREAD_{FRESH}": ((0.5, 60), (0.25, 70), (0.125, 75)),
    f"SPREAD_{GROWING}": ((0.5, 60), (1 / 3, 62), (0.25, 63)),
    "L2_OVER_2_AlphaEdit": ((0.35, 65),),
    "L2_OVER_3_AlphaEdit": ((0.28, 72),),
}


def metrics_of(left, trials=1, drift=0.0):
    """metrics.csv of these methods, with their efficacy."""
    runs = {
        method: {k: (eff, 50, 90, 80.0, 1.1, 10.0) for k, (_, eff) in enumerate(steps, start=1)}
        for method, steps in left.items()
    }
    return frame(runs, model=MODEL, dataset=DATASET, trials=trials, drift=drift)


def residuals_of(left, trials=1, before=8.0):
    """Residuals of these methods; trial t starts from t times `before`, and leaves more of it."""
    rows = []
    for method, steps in left.items():
        for trial in range(1, trials + 1):
            first = trial * before
            for k, (share, _) in enumerate(steps, start=1):
                # before SPREAD of later iterations targets are new: only k = 1 is the measure
                here = {"before": first if k == 1 else 99.0, "after": first * share * trial**0.5}
                rows.append({"method": method, "trial": trial, "k": k} | here)
    return pd.DataFrame(rows)


def found(left=LEFT, **options):
    return F.curves(metrics_of(left), residuals_of(left, **options), AVERAGING)


def write_log(folder, method, trial, k, before, after):
    """edits.parquet of an iteration, with the columns that are read."""
    path = IterationFiles.of(folder / str(RunKey(DATASET, MODEL, method, trial)), k).edits
    path.parent.mkdir(parents=True, exist_ok=True)
    logged = pd.DataFrame({"residual_before": before, "residual": after}, dtype="float64")
    logged.to_parquet(path)
    return path


def test_residuals_are_means_over_requests_by_method_trial_and_k(tmp_path):
    paths = [
        write_log(tmp_path, FRESH, 1, 1, [4.0, 2.0], [1.0, 0.0]),
        write_log(tmp_path, FRESH, 1, 2, [1.0, 3.0], [0.5, 0.1]),
        write_log(tmp_path, FRESH, 2, 1, [8.0], [2.0]),
        write_log(tmp_path, FRESH, 2, 2, [], []),  # after the stop
        write_log(tmp_path, "L2_OVER_2_AlphaEdit", 1, 1, [5.0, 1.0], [math.nan, 2.0]),
    ]
    left = F.residuals(paths)
    assert list(left.columns) == ["method", "trial", "k", "before", "after"]
    assert left.iloc[:3].to_numpy().tolist() == [
        [FRESH, 1, 1, 3.0, 0.5],
        [FRESH, 1, 2, 2.0, 0.3],
        [FRESH, 2, 1, 8.0, 2.0],
    ]
    assert len(left) == 4 and math.isnan(left["after"].iloc[3])
    assert F.residuals([]).empty


def test_curves_are_shares_of_the_first_residual_and_efficacy():
    lines = found()
    assert list(lines) == ["kept", "anew"]
    assert list(lines["anew"]) == list(lines["kept"]) == ["fresh", "growing", "l2"]
    assert lines["anew"]["fresh"].k == [1, 2, 3]
    assert lines["anew"]["fresh"].residual == pytest.approx([0.5, 0.2, 0.1])
    assert lines["anew"]["fresh"].eff_acc == pytest.approx([0.6, 0.8, 0.9])
    assert lines["kept"]["growing"].residual == pytest.approx([0.5, 1 / 3, 0.25])
    assert lines["kept"]["growing"].eff_acc == pytest.approx([0.6, 0.62, 0.63])
    # One iteration with L2/n stands at k = n, the whole L2 at 1, beside both.
    assert lines["kept"]["l2"] == lines["anew"]["l2"]
    assert lines["anew"]["l2"].k == [1, 2, 3]
    assert lines["anew"]["l2"].residual == pytest.approx([0.5, 0.35, 0.28])
    assert lines["anew"]["l2"].eff_acc == pytest.approx([0.6, 0.65, 0.72])


def test_of_several_trials_the_mean_of_their_own_shares():
    left = {FRESH: LEFT[FRESH]}
    metrics = metrics_of(left, trials=2, drift=0.04)
    lines = F.curves(metrics, residuals_of(left, trials=2), AVERAGING)["anew"]
    mean = (1 + 2**0.5) / 2  # of trial 1 and 2, whatever the size of their residuals
    assert lines["fresh"].residual == pytest.approx([mean * s for s in (0.5, 0.2, 0.1)])
    assert lines["fresh"].eff_acc == pytest.approx([0.62, 0.82, 0.92])


def test_a_trial_that_stopped_keeps_its_share_as_it_keeps_its_efficacy():
    left = {FRESH: LEFT[FRESH]}
    metrics, logs = metrics_of(left, trials=2), residuals_of(left, trials=2)
    logs, metrics = (t[(t["trial"] == 1) | (t["k"] < 2)] for t in (logs, metrics))
    line = F.curves(metrics, logs, AVERAGING)["anew"]["fresh"]
    stays = 0.5 * 2**0.5
    assert line.residual == pytest.approx([(s + stays) / 2 for s in (0.5, 0.2, 0.1)])
    assert line.eff_acc == pytest.approx([0.6, 0.7, 0.75])


def test_a_trial_without_a_residual_is_in_no_mean_of_others():
    """As in all means over trials here: one that is not finite makes the mean so."""
    left = {FRESH: LEFT[FRESH][:1]}
    logs = residuals_of(left, trials=2)
    logs.loc[logs["trial"] == 2, "after"] = math.nan
    line = F.curves(metrics_of(left, trials=2), logs, AVERAGING)["anew"]["fresh"]
    assert line.k == [1] and math.isnan(line.residual[0])


def test_methods_that_were_not_run_have_no_line():
    only = found({FRESH: LEFT[FRESH], "L2_OVER_3_AlphaEdit": LEFT["L2_OVER_3_AlphaEdit"]})
    assert list(only["anew"]) == ["fresh", "l2"] and list(only["kept"]) == ["l2"]
    assert only["anew"]["l2"].k == [1, 3]
    plain = found({"AlphaEdit": LEFT[GROWING], "L2_OVER_2_AlphaEdit": LEFT["L2_OVER_2_AlphaEdit"]})
    assert list(plain["anew"]) == ["l2"] and plain["anew"]["l2"].k == [1, 2]
    assert plain["anew"]["l2"].residual == pytest.approx([0.5, 0.35])
    (line,) = found({"L2_OVER_2_AlphaEdit": LEFT["L2_OVER_2_AlphaEdit"]})["kept"].values()
    assert line.k == [2]


def test_the_sentence_is_about_the_last_k_that_all_lines_share():
    assert F.describe(found()) == (
        "targets of k = 1, k = 3: 12% left without, 25% with the keys of earlier iterations, 28% "
        "after one iteration with L2/3; targets found anew, k = 3: 10% left without, 30% with the "
        "keys of earlier iterations, 28% after one iteration with L2/3"
    )
    fewer = {name: steps for name, steps in LEFT.items() if name != "L2_OVER_3_AlphaEdit"}
    assert "targets found anew, k = 2: 20% left without" in F.describe(found(fewer))
    alone = {name: LEFT[name] for name in (FRESH, GROWING)}
    said = F.describe(found(alone))
    assert said.startswith("targets found anew, k = 1: 50% left") and "targets of" not in said
    assert F.describe(found({FRESH: LEFT[FRESH]})) == F.describe({}) == ""


def test_the_sentence_leaves_out_what_has_no_residual():
    logs = residuals_of(LEFT)
    logs.loc[(logs["method"] == GROWING) & (logs["k"] == 3), "after"] = math.nan
    said = F.describe(F.curves(metrics_of(LEFT), logs, AVERAGING))
    assert "nan" not in said


def test_the_figure_has_its_numbers_beside_it(tmp_path):
    path = tmp_path / "out" / "telescoping.png"
    lines = found()
    record = F.figure_telescoping(lines, path, title="AlphaEdit on Tiny_1 $x$", note="small")
    assert path.read_bytes().startswith(PNG)
    assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    assert record["figure"] == "telescoping" and record["says"] == F.describe(lines)
    assert record["curves"]["anew"]["l2"]["k"] == [1, 2, 3]
    assert record["curves"]["kept"]["fresh"]["residual"] == lines["kept"]["fresh"].residual
    assert json.loads(path.with_suffix(".json").read_text(encoding="utf-8")) == record


def test_residuals_have_a_logarithmic_axis_and_efficacy_a_linear_one(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(F, "save", lambda figure, path: drawn.append(figure))
    F.figure_telescoping(found(), tmp_path / "a.png")
    ((upper, beside, lower, last),) = (figure.axes for figure in drawn)
    assert upper.get_yscale() == beside.get_yscale() == "log"
    assert lower.get_yscale() == last.get_yscale() == "linear"
    assert [line.get_ydata().tolist() for line in beside.get_lines()] == [
        pytest.approx([50, 20, 10]),
        pytest.approx([50, 40, 30]),
        pytest.approx([50, 35, 28]),
    ]
    ticks = [label.get_text() for label in upper.get_yticklabels()]
    assert {"10", "20", "50"} <= set(ticks)  # percent, and no powers of ten
    assert [axes.get_title() for axes in (upper, beside)] == list(F.COLUMNS.values())


@pytest.mark.parametrize(
    "left", [{FRESH: LEFT[FRESH]}, {name: LEFT[name] for name in (FRESH, GROWING)}]
)
def test_a_figure_of_few_methods_is_drawn(tmp_path, left):
    record = F.figure_telescoping(found(left), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(PNG)
    assert set(record["curves"]["kept"]) == {"l2"}


def test_what_is_not_finite_is_no_point_and_null_in_the_record(tmp_path):
    logs = residuals_of(LEFT)
    logs.loc[(logs["method"] == FRESH) & (logs["k"] == 1), "after"] = math.nan
    F.figure_telescoping(F.curves(metrics_of(LEFT), logs, AVERAGING), tmp_path / "a.png")
    record = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert record["curves"]["anew"]["fresh"]["residual"][0] is None


def test_nothing_to_draw_is_an_error(tmp_path):
    nothing = F.curves(metrics_of({"MEMIT": LEFT[FRESH]}), F.residuals([]), AVERAGING)
    for lines in (nothing, {}):
        with pytest.raises(ValueError, match="no residual of any iteration of AlphaEdit"):
            F.figure_telescoping(lines, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_from_files_to_the_figure(tmp_path):
    table = tmp_path / "metrics.csv"
    metrics_of(LEFT).to_csv(table, index=False)
    logs = [
        write_log(tmp_path, method, 1, k, [8.0], [8.0 * share])
        for method, steps in LEFT.items()
        for k, (share, _) in enumerate(steps, start=1)
    ]
    subject = Subject(DATASET, MODEL, "AlphaEdit", "SmolLM2", "")
    draw_telescoping(table, logs, subject, AVERAGING, tmp_path / "figure.png")
    record = json.loads((tmp_path / "figure.json").read_text(encoding="utf-8"))
    assert record["says"] == F.describe(found())
