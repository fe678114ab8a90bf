"""Figure 2: what the descriptions say, for any models, the same bytes in any process."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib.style
import pytest

from modeledit.presentation.figures import algorithms as S
from modeledit.presentation.figures.style import STYLE
from modeledit.study.config import described_model
from modeledit.study.methods import METHODS
from modeledit.study.models import Algorithms

ROOT = Path(__file__).resolve().parents[2]
MODELS = {
    path.stem: described_model(path.stem, ROOT)
    for path in sorted((ROOT / "config" / "models").glob("*.yaml"))
}


def test_the_record_is_the_configuration(tmp_path):
    path = tmp_path / "algorithms.png"
    record = S.figure_algorithms(MODELS, path, epsilon=2.0)
    assert record["models"]["gpt2-xl"]["layers"] == {
        "ROME": [17],
        "MEMIT": [13, 14, 15, 16, 17],
        "PMET": [13, 14, 15, 16, 17],
    }
    rows = record["algorithms"]
    assert list(rows) == ["ROME", "MEMIT", "PMET"]
    assert rows["PMET"]["sites"] == ["mlp", "attention_out"]
    # SPEC A.2
    assert [row["residual R read at"] for row in rows.values()] == [
        "$z$ of layer $l_*$",
        "$h$ of layer $l_c$",
        "$z$ of layer $l_c$",
    ]
    assert "sqrt" in rows["PMET"]["by"] and "rank one" in rows["ROME"]["by"]
    assert "L-i" in rows["MEMIT"]["by"] and "sqrt" not in rows["MEMIT"]["by"]
    assert rows["ROME"]["SPREAD writes"] == "$W$ of layer $l_*$"
    assert record["epsilon"] == 2.0
    assert json.loads(path.with_suffix(".json").read_text(encoding="utf-8")) == record
    assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF")


def test_every_algorithm_can_be_drawn():
    plain = {m.name: m for m in METHODS.values() if not m.neighbor_assisted}
    for method in plain.values():
        assert S._table_row(method).keys() == S.TABLE.keys()
        assert set(method.sites) <= S.BEADS.keys()


def test_only_the_algorithms_that_are_configured(tmp_path):
    hyper = replace(MODELS["gpt2-xl"].algorithms.MEMIT, layers=(0,))
    only = Algorithms(MEMIT=hyper)
    model = replace(MODELS["gpt2-xl"], title="A $tiny_model$", depth=1, algorithms=only)
    record = S.figure_algorithms({"tiny": model}, tmp_path / "a.png")
    assert list(record["algorithms"]) == ["MEMIT"]
    with pytest.raises(ValueError, match="no models"):
        S.figure_algorithms({}, tmp_path / "b.png")


@pytest.mark.parametrize(
    ("layers", "shown"),
    [([5], "5"), ([3, 4, 5], "3–5"), ([9, 3, 4], "3–4, 9"), ([1, 3], "1, 3")],
)
def test_layers_as_ranges(layers, shown):
    assert S._spans(layers) == shown


@pytest.mark.parametrize("names", [list(MODELS), ["smollm2-135m"]])
def test_nothing_leaves_the_sheet_or_runs_into_another(tmp_path, names):
    record = S.figure_algorithms({n: MODELS[n] for n in names}, tmp_path / "a.png")
    with matplotlib.style.context(STYLE):
        figure = S._draw_algorithms(record)
        figure.set_dpi(300)  # as it is saved; on a coarser grid letters are wider
        figure.draw_without_rendering()
        texts = [t for t in figure.axes[0].texts if t.get_text()]
        boxes = [(t.get_text(), t.get_window_extent().expanded(0.98, 0.7)) for t in texts]
    for i, (text, box) in enumerate(boxes):
        assert 0 <= box.x0 and box.x1 <= figure.bbox.x1, text
        assert 0 <= box.y0 and box.y1 <= figure.bbox.y1, text
        assert not [other for other, b in boxes[i + 1 :] if box.overlaps(b)], text


def test_the_script_gives_the_same_bytes_in_any_process(tmp_path):
    made = []
    for seed in ("1", "2"):
        figure = tmp_path / seed / "algorithms.png"
        code = (
            "import runpy\n"
            "from tests.script_job import script_job\n"
            "from tests.presentation.test_algorithms import MODELS\n"
            f"n = script_job({str(tmp_path / 'log.txt')!r}, output=dict(figure={str(figure)!r}),"
            " params=dict(models=MODELS, epsilon=1.0))\n"
            "runpy.run_path('scripts/draw_algorithms.py', {'snakemake': n}, '__main__')\n"
        )
        environment = os.environ | {"PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)
        made.append([figure.with_suffix(e).read_bytes() for e in (".png", ".pdf", ".json")])
    assert made[0] == made[1]
