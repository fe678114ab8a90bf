"""What jobs ran on: a job measures itself, and Table 5 sums it up."""

import math

import pandas as pd
import torch

from modeledit.io.files import write_json
from modeledit.lm.meter import Meter
from modeledit.presentation import hardware_table as hardware
from modeledit.presentation import typesetting

NAMES = {"gpt2-xl": "GPT-2 XL (1.5B)"}


def used(seconds, **more):
    known = {"device": "H100", "peak_device_gb": 30.0, "peak_host_gb": 8.0, "energy_kwh": None}
    return known | {"seconds": seconds} | more


def files(tmp_path):
    """Three iterations of two runs, the last of which only passed the stop on."""
    values = {
        "counterfact/gpt2-xl/MEMIT/trial1/iter1": used(3600.0),
        "counterfact/gpt2-xl/MEMIT/trial1/iter2": used(1800.0, peak_device_gb=40.0),
        "counterfact/gpt2-xl/MEMIT/trial1/iter3": {},
        "zsre/gpt2-xl/NA_PMET/trial2/iter1": used(60.0, energy_kwh=0.25, device="CPU & co"),
    }
    for folder, value in values.items():
        write_json(tmp_path / folder / "hardware.json", value)
    return [tmp_path / folder / "hardware.json" for folder in values]


def test_a_job_measures_itself():
    meter = Meter(torch.device("cpu"))
    ballast = torch.ones(50_000_000)  # 200 MB
    found = meter.record()
    assert found.seconds >= 0 and found.device
    assert found.peak_host_gb > ballast.numel() * 4 / 1e9
    assert found.peak_device_gb is None and found.energy_kwh is None


def test_only_iterations_that_edited_are_gathered(tmp_path):
    frame = hardware.gather(files(tmp_path))
    assert list(frame.columns) == list(hardware.COLUMNS)
    assert frame[["method", "trial", "k"]].to_numpy().tolist() == [
        ["MEMIT", 1, 1],
        ["MEMIT", 1, 2],
        ["NA_PMET", 2, 1],
    ]


def test_the_table_sums_jobs_and_names_the_papers_gpu(tmp_path):
    paper = pd.DataFrame(
        [{"model": "gpt2-xl", "method": "MEMIT", "dataset": "counterfact", "gpu": "L40S (48GB)"}]
    )
    frame = hardware.summary(
        hardware.gather(files(tmp_path)), paper, NAMES, {"counterfact": "CounterFact"}
    )
    first, second = frame.to_dict("records")
    assert first["Model"] == "GPT-2 XL (1.5B)" and first["Dataset"] == "CounterFact"
    assert (first["Jobs"], first["Hours"], first["Min/job"]) == ("2", "1.5", "45")
    assert (first["GB device"], first["kWh"], first["Paper"]) == ("40", "--", "L40S (48GB)")
    assert (second["kWh"], second["Paper"], second["Device"]) == ("0.25", "--", "CPU & co")
    latex = typesetting.frame_to_latex(frame, "What *it* ran on", "tab:hardware", "A note.")
    assert r"CPU \& co" in latex and r"\emph{it}" in latex and latex.count(r"\\") == 3
    html = typesetting.frame_to_html(frame, "What *it* ran on", "tab:hardware")
    assert "CPU &amp; co" in html and '<figure class="table" id="tab-hardware">' in html


def test_nothing_run_is_an_empty_table():
    empty = hardware.gather([])
    paper = pd.DataFrame(columns=["model", "method", "dataset", "gpu"])
    assert hardware.summary(empty, paper, NAMES, {}).empty
    assert math.isnan(empty["seconds"].sum(min_count=1))
