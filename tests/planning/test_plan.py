"""What a study will cost: operations against the engine's own, totals, what is done, what lacks."""

import copy
import math
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count
from transformers import AutoModelForCausalLM, LlamaConfig

from modeledit.data.record_files import count_records
from modeledit.editing.factors import factorize
from modeledit.editing.iteration import EditSettings
from modeledit.editing.optimization import optimize
from modeledit.editing.problem import Problem
from modeledit.editing.spread import SpreadSettings, spread
from modeledit.editing.writes import CovarianceWrite
from modeledit.io.files import write_json
from modeledit.io.state import write_state
from modeledit.lm.model import EditableModel
from modeledit.lm.tokens import Row
from modeledit.planning import costs, survey
from modeledit.planning.batches import BatchState, SequenceChain
from modeledit.planning.edits import Measured, Progress
from modeledit.planning.edits import steps as expected_steps
from modeledit.planning.plan import Chain, make_plan, needed_downloads, span
from modeledit.planning.plan_text import describe
from modeledit.planning.preflight import Machine, missing, peaks
from modeledit.study import memory
from modeledit.study.config import load_settings
from modeledit.study.hyperparameters import SpreadHyperparameters
from modeledit.study.inventory import Inventory
from modeledit.study.methods import METHODS
from modeledit.study.models import Algorithms, FolderSource, Model
from modeledit.study.settings import Stop
from tests.editing.tiny_edits import state_of
from tests.presets import CORRECTED

ROOT = Path(__file__).parents[2]
SPEED = costs.Speed("CPU", 1e11, 1e11, 5e10, 5e-6)
MACHINE = Machine(
    gpu=None,
    device_bytes=None,
    host_bytes=200e9,
    free_bytes=2e12,
    used_bytes=0,
    token=True,
    latex=True,
    offline=True,
)
MODEL = "smollm2-135m"


def read(name):
    return yaml.safe_load((ROOT / "config" / name).read_text(encoding="utf-8"))


def merged(*layers):
    """A configuration laid over others, as Snakemake does it."""
    result = {}
    for layer in layers:
        for key, value in layer.items():
            merge = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if merge else copy.deepcopy(value)
    return result


def default(**changes):
    return load_settings(merged(read("config.yaml"), changes), ROOT, count_records)


def paper(**changes):
    return load_settings(
        merged(read("config.yaml"), read("paper.yaml"), changes), ROOT, count_records
    )


def chains_of(study, requests=None, **state):
    """The chains of a study of which nothing is there, or what `state` says of each."""
    nothing = {"done": 0, "edited": 0, "stopped": False}
    return [
        Chain(
            run,
            study.stop(run.dataset, run.model, run.method).extended,
            requests=requests or study.most_requests(run.dataset, run.model),
            **nothing | state,
        )
        for run in study.runs
    ]


def jobs_of(study, here=False):
    """All jobs of a study, and that the file of each is there, or not."""
    return dict.fromkeys(Inventory(study).jobs(), here)


def planned(study, chains=None, here=False, measured=(), picks=None, speeds=True, machine=None):
    chains = chains_of(study) if chains is None else chains
    known = dict.fromkeys(study.models, SPEED) if speeds else {}
    return make_plan(study, jobs_of(study, here), [here] * 4, chains, measured, picks or {}, known)


def text_of(study, plan, machine=MACHINE, speeds=True, lacking=()):
    known = dict.fromkeys(study.models, SPEED) if speeds else {}
    return describe(plan, machine, study.config.compute, known, lacking)


# --------------------------------------------------------------------------------------------------
# Operations

HYPER = SpreadHyperparameters(
    layers=(1, 2, 3),
    lr=1e-6,
    steps=6,
    clamp=4.0,
    weight_decay=0.0,
    kl_factor=0.0625,
    covariance_weight=1.0,
)
DESCRIBED = Model(
    title="tiny",
    comparable=False,
    license="none",
    source=FolderSource(kind="folder", path="nowhere"),
    family="llama",
    depth=6,
    width=128,
    mlp_width=320,
    vocabulary=800,
    tied=False,
    algorithms=Algorithms(MEMIT=HYPER),
)
SHAPE = costs.Shape(before=4, suffix=3, labels=1, scored=0, answers=0)


@pytest.fixture(scope="module")
def engine():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=DESCRIBED.vocabulary,
        hidden_size=DESCRIBED.width,
        intermediate_size=DESCRIBED.mlp_width,
        num_hidden_layers=DESCRIBED.depth,
        num_attention_heads=4,
        num_key_value_heads=4,
    )
    return EditableModel(AutoModelForCausalLM.from_config(config))


def problem(generator, neighbors):
    """A request whose rows share nothing: 4 tokens, the subject's last, 2 more, a label."""

    def row():
        ids = tuple(torch.randint(0, 800, (7,), generator=generator).tolist())
        return Row(ids, (1,), 4)

    edit = tuple(row() for _ in range(6))
    bare = Row(edit[0].ids[:5], (), 4)
    return Problem(edit, bare, tuple(row() for _ in range(neighbors)))


def counted(function):
    """Operations of the products in a call; the counter must be told of a CPU's kernels."""

    def linear(x, weight, *_, **__):
        return 2 * math.prod(x) * weight[0]

    def attention(query, key, value, *_, **__):
        return sdpa_flop_count(query, key, value)

    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    kernels = {fused: attention, torch.ops.mkldnn._linear_pointwise: linear}
    with FlopCounterMode(display=False, custom_mapping=kernels) as counter:
        function()
    return counter.get_total_flops()


def edit_jobs(method, requests=None, **changes):
    values = (DESCRIBED, METHODS[method], HYPER, SHAPE, 1, 512, 0, True)
    return replace(costs.Edit(*values), **changes)


@pytest.mark.parametrize(("method", "neighbors"), [("MEMIT", 0), ("NA4_MEMIT", 4)])
def test_optimization_makes_as_many_operations_as_counted(engine, method, neighbors):
    generator = torch.Generator().manual_seed(1)
    problems = [problem(generator, neighbors) for _ in range(8)]
    how = EditSettings(METHODS["MEMIT"], HYPER, CORRECTED, "float32", 512).targets
    found = counted(lambda: optimize(engine, problems, how, 512))
    work = edit_jobs(method).optimization(8, HYPER.steps)
    assert work.optimization + work.forward == pytest.approx(found, rel=0.15)


def test_spread_makes_as_many_operations_as_counted(engine):
    generator = torch.Generator().manual_seed(2)
    rows = [[Row(row.ids[:5], (), 4) for row in problem(generator, 0).edit_rows] for _ in range(20)]
    factor = factorize(torch.eye(320, dtype=torch.float64), 1).lower
    how = SpreadSettings((1, 2, 3), "block", "linear")
    before = {i: engine.down_weight(i).clone() for i in how.layers}
    targets = torch.zeros(20, 128)
    write = CovarianceWrite(dict.fromkeys(how.layers, factor), 1.0)
    found = counted(lambda: spread(engine, rows, targets, write, how))
    for layer, weight in before.items():
        engine.write_down_weight(layer, weight)
    # Triangular solves are not counted, and are little beside the passes here.
    assert edit_jobs("MEMIT").spread(20).forward == pytest.approx(found, rel=0.15)


def test_the_count_agrees_with_the_measured_benchmark():
    """docs/benchmarks.md: 48 requests of MEMIT took 5440 GFLOP, in 18 to 19 steps."""
    study = default()
    shape, described = costs.SHAPES["geography"], study.models[MODEL]
    hyper = described.hyperparameters("MEMIT")
    jobs = costs.Edit(described, METHODS["MEMIT"], hyper, shape, 1, 1024, 50, True)
    work = jobs.optimization(48, 18.5)
    assert (work.optimization + work.forward) / 1e9 == pytest.approx(5440, rel=0.2)


def test_an_iteration_that_keeps_its_targets_costs_no_optimization():
    names = ("MEMIT", "SPREAD_MEMIT", "OPTIMIZATION_MEMIT")
    first, later = ({name: expected_steps(HYPER, name, k) for name in names} for k in (1, 2))
    assert first["MEMIT"] == first["SPREAD_MEMIT"] == first["OPTIMIZATION_MEMIT"] > 1
    assert later["SPREAD_MEMIT"] == 0 < later["OPTIMIZATION_MEMIT"]
    jobs = edit_jobs("SPREAD_MEMIT")
    assert jobs.optimization(9, 0) == costs.Work()
    assert jobs.job(9, 0).seconds(SPEED) < jobs.job(9, 1).seconds(SPEED)


requests_and_more = st.tuples(st.integers(1, 3000), st.integers(1, 3000))


@given(requests_and_more, st.sampled_from(["MEMIT", "NA_PMET", "ROME"]), st.integers(2, 25))
def test_a_job_grows_with_requests_and_steps(counts, method, steps):
    few, more = sorted(counts)
    jobs = edit_jobs(method)
    assert jobs.job(few, steps).seconds(SPEED) <= jobs.job(more, steps).seconds(SPEED)
    assert jobs.job(few, steps).seconds(SPEED) < jobs.job(few, steps + 1).seconds(SPEED)
    faster = replace(SPEED, optimization=2 * SPEED.optimization)
    assert jobs.job(few, steps).seconds(faster) < jobs.job(few, steps).seconds(SPEED)


def test_the_probe_is_quick_and_measures_every_model():
    models = {"a": DESCRIBED, "b": replace(DESCRIBED, mlp_width=640)}
    start = time.perf_counter()
    speeds = costs.probe(models, "cpu", torch.get_num_threads(), "float32", 256, seconds=0.2)
    assert time.perf_counter() - start < 5
    assert speeds.keys() == models.keys()
    for speed in speeds.values():
        assert 1e7 < speed.double and 1e8 < speed.forward < 1e15
        assert 1e-8 < speed.call < 1e-2 and speed.device


# --------------------------------------------------------------------------------------------------
# Jobs and hours


def test_totals_add_up():
    study = default()
    plan = planned(study)
    # Four for the model; three for each trial; six runs of ten iterations, each with its metrics.
    assert plan.jobs == (4 + 3 * 3 + 6 + 60, 0)
    parts = sum(e.hours for e in plan.edits) + sum(s.hours or 0 for s in plan.stages)
    assert plan.hours() == pytest.approx(parts)
    assert 0 < plan.hours() < plan.hours(most=True)
    hours = {stage.kind: stage.hours for stage in plan.stages}
    assert hours["prepare_model"] is None
    assert all(hours[r] > 0 for r in ("make_contexts", "gather_covariance", "score_unedited"))
    rows = [line.split() for line in text_of(study, plan).splitlines()]
    assert ["total", "79", "0"] in rows


def test_the_papers_matrix_has_385_jobs_and_stops_after_289():
    study = paper()
    plan = planned(study, picks=survey.published_stops())
    assert sum(line.jobs for line in plan.edits) == sum(line.most for line in plan.edits) == 385
    full, early = ([sum(line.full[i] for line in plan.edits) for i in (0, 1)] for _ in (0, 1))
    early = [sum(line.early[i] for line in plan.edits) for i in (0, 1)]
    assert full == [385, 385]
    assert early[0] == early[1] == 289
    stops = {(e.dataset, e.model, e.method): e.early[0] / e.trials for e in plan.edits}
    # SPEC C.5; a run that never met the rule uses its whole budget.
    assert stops["counterfact", "gpt2-xl", "MEMIT"] == 4
    assert stops["zsre", "gpt2-xl", "PMET"] == 6
    assert stops["counterfact", "llama-2-7b", "MEMIT"] == 5
    assert stops["counterfact-eligible", "gpt-j-6b", "NA_PMET"] == 6
    assert stops["counterfact-eligible", "llama-2-7b", "NA_PMET"] == 10
    assert len(needed_downloads(study)) == 3 + 3 + 3 + 1 + 5 + 6 + 5


def test_what_the_paper_does_not_say_is_a_range():
    (line, _) = planned(default(), picks=survey.published_stops()).edits
    assert line.early == (3, 30) and line.full == (15, 30)
    assert line.early_hours[0] < line.full_hours[0] < line.full_hours[1] == line.early_hours[1]
    assert line.expected == 15


@given(st.integers(1, 12), st.integers(0, 6), st.one_of(st.none(), st.integers(1, 14)))
def test_early_never_edits_more_than_full(base, more, met):
    stop = Stop(mode="early", epsilon=1.0, iterations=base, extended=base + more)
    key = ("d", "m", "a")
    early, full = (span(stop, mode, {key: met}, key) for mode in ("early", "full"))
    assert early[0] == early[1] and full[0] == full[1]  # known is no range
    assert 1 <= early[0] <= full[0] <= base + more and full[0] >= base
    assert span(stop, "early", {}, key) == (1, base + more)
    assert span(stop, "full", {}, key) == (base, base + more)


@settings(max_examples=20)
@given(requests_and_more)
def test_a_larger_trial_takes_longer_and_needs_more_memory(counts):
    few, more = sorted(counts)
    study = default()
    small, large = (planned(study, chains_of(study, requests=n)) for n in (few, more))
    assert small.hours() <= large.hours() and small.hours(True) <= large.hours(True)
    for one, other in zip(small.edits, large.edits, strict=True):
        assert one.device_gb <= other.device_gb and one.first_hours <= other.first_hours


def test_a_done_iteration_is_not_counted_again():
    study = default()
    fresh = planned(study)
    begun = planned(study, chains_of(study, done=2, edited=2))
    stopped = planned(study, chains_of(study, done=3, edited=3, stopped=True))
    assert begun.jobs[1] == 12 and begun.jobs[0] == fresh.jobs[0]
    assert begun.hours() < fresh.hours() and begun.hours(True) < fresh.hours(True)
    assert begun.disk["states"] == pytest.approx(0.8 * fresh.disk["states"])
    # What comes after a stop costs nothing, and what is done at all is not done again.
    assert [line.hours for line in stopped.edits] == [0, 0]
    assert [line.most for line in stopped.edits] == [9, 9]
    over = planned(study, chains_of(study, done=10, edited=10), here=True)
    assert over.hours() == over.hours(True) == over.disk_most == 0


def test_runs_that_stopped_tell_what_the_others_will_do():
    study = default()
    chains = chains_of(study)
    chains[0] = replace(chains[0], done=2, edited=2, stopped=True)
    first, second = planned(study, chains).edits
    assert (first.expected, second.expected) == (2 + 2 + 2, 15)
    assert first.most == 2 + 10 + 10


def test_earlier_jobs_scale_the_times_of_their_method_on_their_device():
    study = default()
    (line, other) = planned(study).edits
    jobs = costs.Edit(
        study.models[MODEL],
        METHODS["MEMIT"],
        study.models[MODEL].hyperparameters("MEMIT"),
        costs.SHAPES["geography"],
        1,
        1024,
        50,
        True,
    )
    seconds = 3 * jobs.job(22, 18.0).seconds(SPEED)
    job = Measured("geography-eligible", MODEL, "MEMIT", "CPU", seconds, 22, 18.0)
    slower, same = planned(study, measured=[job]).edits
    assert slower.hours == pytest.approx(3 * line.hours) and slower.measured == 1
    assert (same.hours, same.measured) == (other.hours, 0)
    elsewhere = planned(study, measured=[replace(job, device="another")]).edits
    assert [e.hours for e in elsewhere] == [line.hours, other.hours]
    said = text_of(study, planned(study, measured=[job]))
    basis = (
        f"Times are scaled by earlier jobs on this device: 1 of MEMIT on {MODEL}; the others are"
    )
    assert basis in said.replace("\n", " ")
    assert "none has been measured" in text_of(study, planned(study))


def test_a_covariance_costs_what_its_source_has_to_read():
    plans = {}
    for source in ("embedded", "fast", "recompute"):
        plans[source] = planned(default(covariance={"source": source}))
    hours = {
        source: next(s.hours for s in plan.stages if s.kind == "gather_covariance")
        for source, plan in plans.items()
    }
    assert hours["fast"] < hours["embedded"] < hours["recompute"] / 100
    bytes_read = {source: plan.disk["downloads"] for source, plan in plans.items()}
    assert bytes_read["embedded"] == 0 < bytes_read["fast"] < bytes_read["recompute"] / 40


def test_without_a_device_no_time_is_made_up():
    study = default()
    plan = planned(study, speeds=False)
    assert plan.hours() is None and plan.edits[0].hours is None
    text = text_of(study, plan, speeds=False)
    assert "Times are not known" in text and "Device time left: ? expected" in text
    assert "60 edit jobs" in text


def studies():
    """Names of the files of config/ that are a study, laid over the default one."""
    layers = {path.name: read(path.name) for path in sorted((ROOT / "config").glob("*.yaml"))}
    return [name for name, values in layers.items() if "name" in values]


@pytest.mark.parametrize("name", studies())
def test_every_plan_fits_a_terminal_of_100_columns(name):
    """With a GPU, times of earlier jobs and all that can be missing: where lines are longest."""
    below = [read("paper.yaml")] if name == "paper_cut.yaml" else []
    layers = [read("config.yaml"), *below, read(name)]
    study = load_settings(merged(*layers), ROOT, count_records)
    gpu = replace(
        MACHINE, gpu="H100", device_bytes=1e9, host_bytes=1e9, free_bytes=1e6, token=False
    )
    slow = costs.Speed("Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", 1e9, 1e9, 1e9, 5e-6)
    chains = [
        Chain(run, study.stop(*key).extended, 0, 0, False, study.most_requests(*key[:2]))
        for run in study.runs
        for key in [(run.dataset, run.model, run.method)]
    ]
    measured = [
        Measured(*(c.run.dataset, c.run.model, c.run.method), slow.device, 1e6, 9, 9.0)
        for c in chains
    ]
    jobs = jobs_of(study)
    known = dict.fromkeys(study.models, slow)
    sequences = [
        SequenceChain(one, (BatchState(Progress(9, 0, 0, False), False, False),) * one.count, 1000)
        for one in study.sequences
    ]
    plan = make_plan(
        study, jobs, [False], chains, measured, survey.published_stops(), known, sequences
    )
    lacking = missing(study, gpu, plan.disk_most, jobs)
    text = describe(plan, gpu, study.config.compute, known, lacking, busy=True)
    assert [line for line in text.splitlines() if len(line) > 100] == []
    edits = {(e.dataset, e.model, e.method) for e in [*plan.edits, *plan.sequences]}
    for dataset, model, method in edits:
        assert f"\n{dataset}, {model}\n" in text and f"\n  {method} " in text
    flat = " ".join(text.split())
    assert all(line in flat for line in lacking)


# --------------------------------------------------------------------------------------------------
# What is missing


def lacking(study, machine=MACHINE, here=False, **more):
    plan = planned(study, speeds=False)
    return missing(study, machine, plan.disk_most, jobs_of(study, here), **more)


def test_nothing_is_missing_where_all_is_there():
    study = default()
    assert lacking(study) == []
    assert "Nothing is missing." in text_of(study, planned(study))


def test_each_thing_that_is_missing_is_said_with_a_way_out():
    study = paper(compute={"device": "cuda"})
    gpu = replace(MACHINE, gpu="H100", device_bytes=200e9)
    assert lacking(study, gpu) == []
    cases = {
        "HF_TOKEN": replace(gpu, token=False),
        "26 published files": replace(gpu, offline=False),
        "LaTeX": replace(gpu, latex=False),
        "disk: ": replace(gpu, free_bytes=50e9),
        "host memory: gpt-j-6b": replace(gpu, host_bytes=20e9),
        "GPU memory (H100): gpt-j-6b": replace(gpu, device_bytes=20e9),
        "torch sees none": replace(gpu, gpu=None, device_bytes=None),
    }
    for words, machine in cases.items():
        assert any(words in line for line in lacking(study, machine)), words
    # A model that is prepared needs no token any more, and files that are here no folder.
    assert lacking(study, replace(gpu, token=False, offline=False), here=True) == []


def test_a_token_budget_that_would_fit_does_fit():
    study = default(compute={"token_budget": 4096, "device": "cuda"})
    need = max(job.peak.device for job in peaks(study) if job.requests)
    machine = replace(MACHINE, gpu="small", device_bytes=0.7 * need)
    (line,) = lacking(study, machine)
    budget = int(line.split("token_budget = ")[1].split()[0])
    described = study.models[MODEL]
    assert memory.editing(described, budget, 24, 6).device <= 0.7 * need
    assert memory.editing(described, 2 * budget, 24, 6).device > 0.7 * need
    study = default(compute={"token_budget": budget, "device": "cuda"})
    assert lacking(study, machine) == []
    (line,) = lacking(study, replace(machine, device_bytes=1e8))
    assert "no token_budget would fit" in line
    # Left to the job it is no question, until not even the smallest fits.
    study = default(compute={"token_budget": "auto", "device": "cuda"})
    assert lacking(study, machine) == []
    (line,) = lacking(study, replace(machine, device_bytes=1e8))
    assert "no token_budget would fit" in line


def test_on_a_cpu_host_memory_holds_what_the_device_would():
    study = default()
    small = replace(MACHINE, host_bytes=1e9)
    (line,) = lacking(study, small)
    assert line.startswith(f"host memory: {MODEL}: ") and "there are 1.0 GB" in line
    assert lacking(study, replace(small, gpu="H100", device_bytes=80e9, host_bytes=3e9)) == []


def test_the_folder_of_a_model_must_be_there():
    study = default()
    study.models[MODEL] = replace(study.models[MODEL], source=DESCRIBED.source)
    (line,) = lacking(study, folders={MODEL: False})
    assert "source.path = 'nowhere': no such folder" in line
    assert lacking(study, folders={MODEL: True}) == []


def test_a_disk_that_is_too_small_is_said_in_the_plan():
    study = default()
    plan = planned(study)
    assert "fits." in text_of(study, plan) and "DOES NOT" not in text_of(study, plan)
    small = replace(MACHINE, free_bytes=plan.disk_most - 1)
    assert "DOES NOT FIT" in text_of(study, plan, small)


# --------------------------------------------------------------------------------------------------
# What is there


def test_a_chain_is_read_from_its_states(tmp_path):
    run = default().runs[0]
    states = [tmp_path / f"iter{k}" / "state.json" for k in range(1, 6)]
    requests = tmp_path / "trial1.jsonl"
    assert survey.chain_of(run, requests, states, 24) == Chain(run, 5, 0, 0, False, 24)
    requests.write_text("{}\n{}\n{}\n")
    write_state(states[0], state_of(1))
    assert survey.chain_of(run, requests, states, 24) == Chain(run, 5, 1, 1, False, 3)
    write_state(states[1], state_of(2, stopped=True))
    write_state(states[2], state_of(3, stopped=True, passed_on=True))
    assert survey.chain_of(run, requests, states, 24) == Chain(run, 5, 3, 2, True, 3)


def test_earlier_jobs_are_those_that_edited(tmp_path):
    run = tmp_path / "demo" / "geography-eligible" / MODEL / "MEMIT" / "trial1"
    used = {"device": "CPU", "seconds": 60.5, "peak_host_gb": 1.0}
    unknown = {"peak_device_gb": None, "energy_kwh": None}
    write_json(run / "iter1" / "hardware.json", used | unknown)
    pd.DataFrame({"steps": [20, 15, 10]}).to_parquet(run / "iter1" / "edits.parquet")
    write_json(run / "iter2" / "hardware.json", {})
    (found,) = survey.earlier_jobs(tmp_path)
    assert found == Measured("geography-eligible", MODEL, "MEMIT", "CPU", 60.5, 3, 15.0)
