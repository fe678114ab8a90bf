"""The plan of AlphaEdit and of batches in sequence: null spaces, earlier keys, scores, disk."""

from dataclasses import replace

import pandas as pd
import pytest

from modeledit.io.files import write_json
from modeledit.io.state import write_state
from modeledit.planning import costs, survey
from modeledit.planning.batches import BatchState, SequenceChain
from modeledit.planning.edits import Measured, Progress, earlier_keys, edit_of, write_of
from modeledit.planning.plan import Chain, make_plan
from modeledit.planning.plan_text import describe
from modeledit.planning.preflight import missing, peaks
from modeledit.planning.resources import JobResources
from modeledit.study import memory
from modeledit.study.inventory import Inventory
from modeledit.study.layout import Layout, Run
from tests.editing.tiny_edits import state_of
from tests.planning.test_plan import MACHINE, MODEL, SPEED, default, jobs_of
from tests.study.test_config import block

SIZE, COUNT, LAYERS = 4, 3, 5


def study(methods=("AlphaEdit",), runs=(), keep="last", cache="other_batches", **changes):
    """A study with three batches of four requests, and `runs` without batches."""
    batches = {"size": SIZE, "count": COUNT, "keep": keep}
    blocks = [block(requests="eligible", methods=list(methods), batches=batches)]
    blocks += [block(requests="eligible", methods=list(runs))] if runs else []
    given = {"trials": {"count": 2, "size": 24}, "switches": {"key_cache": cache}}
    return default(runs=blocks, **given | changes)


def nothing(settings, sequence):
    links = settings.stop_of_batch(sequence).extended
    state = BatchState(Progress(links, 0, 0, False), False, False)
    return SequenceChain(sequence, (state,) * sequence.count, 24)


def planned(settings, sequences=None, measured=(), speeds=True, here=False):
    if sequences is None:
        sequences = [nothing(settings, one) for one in settings.sequences]
    chains = [Chain(run, 10, 0, 0, False, 24) for run in settings.runs]
    known = {MODEL: SPEED} if speeds else {}
    jobs = jobs_of(settings, here)
    return make_plan(settings, jobs, [here] * 4, chains, measured, {}, known, sequences)


def done(batch, edited, kept=True):
    """A batch whose `edited` iterations met the rule; the others passed the stop on."""
    links = batch.progress.links
    return BatchState(Progress(links, links, edited, True), kept, kept)


# --------------------------------------------------------------------------------------------------
# Null spaces


def test_null_spaces_are_a_job_with_hours_memory_and_disk():
    settings = study()
    plan = planned(settings)
    stages = {stage.kind: stage for stage in plan.stages}
    assert "factorize_covariance" not in stages
    assert stages["find_null_spaces"].jobs == 1 and stages["find_null_spaces"].hours > 0
    described = settings.models[MODEL]
    sizes = memory.disk(described, LAYERS, 0)
    assert sizes.null_spaces == sizes.covariances / 2 == sizes.factors / 2
    assert plan.disk["statistics"] == sizes.covariances + sizes.null_spaces
    (job,) = (job for job in peaks(settings) if job.name == "find_null_spaces")
    assert job.peak == memory.finding_null_spaces(described, LAYERS)
    assert job.peak.device > 4 * memory.parameters(described)


def test_eigenvectors_take_what_was_measured():
    """0.2 to 0.23 ns n^3 on a core that makes 49 GFLOP/s in float64."""
    described = study().models[MODEL]
    speed = costs.Speed("CPU", 4.9e10, 4.9e10, 4.9e10, 0)
    for width in (1536, 4608):
        model = replace(described, mlp_width=width)
        found, one = (costs.finding_null_spaces(model, layers) for layers in ((3, 4), (4,)))
        alone = replace(found, forward=0, read=0).seconds(speed)
        alone -= replace(one, forward=0, read=0).seconds(speed)
        assert alone == pytest.approx(0.21e-9 * width**3, rel=0.1)


def test_null_spaces_and_batches_ask_for_what_they_need():
    settings = study(runs=["MEMIT"])
    asked, large = JobResources(settings, False), JobResources(settings, True)
    assert asked.null_spaces(MODEL, 2) == 2 * asked.null_spaces(MODEL, 1) > 0
    assert large.null_spaces(MODEL, 1) < asked.null_spaces(MODEL, 1)  # the model is the GPU's
    minutes = asked.null_space_minutes(MODEL, 1)
    assert 30 < minutes < 40 and asked.null_space_minutes(MODEL, 2) == 2 * minutes
    wide = replace(settings.models[MODEL], mlp_width=14336)
    wider = replace(settings, models={MODEL: wide})
    assert 180 < JobResources(wider, False).null_space_minutes(MODEL, 1) < 600
    batch = asked.editing_batch(settings.sequences[0], 1)
    run = asked.editing("geography-eligible", MODEL, "MEMIT", 1)
    assert 0 < batch < run  # four requests against 24


# --------------------------------------------------------------------------------------------------
# Keys of earlier edits


@pytest.mark.parametrize(
    ("method", "cache", "run", "sequence"),
    [
        ("MEMIT", "released", 0, 0),
        ("AlphaEdit", "none", 0, 0),
        ("AlphaEdit", "other_batches", 0, 2 * SIZE),
        ("AlphaEdit", "released", 9 * 24, (3 * 10 - 1) * SIZE),
        ("MEMIT_seq", "other_batches", 0, 2 * SIZE),
        ("FRESH_AlphaEdit", "released", 0, 0),
        ("GROWING_AlphaEdit", "none", 9 * 24, (3 * 10 - 1) * SIZE),
    ],
)
def test_the_most_keys_that_a_write_keeps_in_place(method, cache, run, sequence):
    settings = study([method], [method], cache=cache)
    found = [write_of(settings, chain) for chain in (settings.runs[0], settings.sequences[0])]
    assert [write.earlier for write in found] == [run, sequence]
    kept = method == "GROWING_AlphaEdit" or (
        method in ("AlphaEdit", "MEMIT_seq") and cache != "none"
    )
    assert {write.layers for write in found} == {LAYERS if kept else 0}
    space = "null_space" if method.endswith("AlphaEdit") else "covariance"
    assert {write.protects for write in found} == {space}
    assert earlier_keys(settings, method, SIZE, 0, 0) == 0


def test_earlier_keys_take_time_and_memory():
    settings = study(cache="released")
    edit = edit_of(settings, "geography-eligible", MODEL, "AlphaEdit")
    few, many = (edit.iteration(SIZE, 10, earlier).seconds(SPEED) for earlier in (0, 1000))
    assert few < many < edit.iteration(SIZE, 10, 5000).seconds(SPEED)
    assert edit.job(SIZE, 10).seconds(SPEED) > few
    peaks_of = [
        memory.writing(edit.model, SIZE, 6, memory.Write("null_space", n, LAYERS))
        for n in (0, 1000)
    ]
    assert peaks_of[0].device < peaks_of[1].device and peaks_of[0].host < peaks_of[1].host


def test_a_basis_is_half_of_a_factor():
    model, widths = study().models[MODEL], 1536**2
    factor, basis = (
        memory.writing(model, SIZE, 6, memory.Write(kind)) for kind in ("covariance", "null_space")
    )
    assert factor.host - basis.host == 4 * widths


@pytest.mark.parametrize(("name", "shape"), [("gpt-j-6b", (16384, 6)), ("llama-3-8b", (14336, 5))])
def test_the_keys_of_large_models_are_in_the_estimate(name, shape):
    """1000 requests and as many of each of nine iterations before (`released`)."""
    mlp, layers = shape
    runs = [block(dataset="counterfact", models=[name], methods=["AlphaEdit"], requests="all")]
    settings = default(
        runs=runs,
        datasets={"counterfact": {"source": "counterfact", "files": "authors"}},
        trials={"count": 1, "size": 1000},
        switches={"key_cache": "released"},
        covariance={"source": "recompute"},
    )
    model, write = settings.models[name], write_of(settings, settings.runs[0])
    assert model.mlp_width == mlp and write == memory.Write("null_space", 9000, layers)
    peak = memory.writing(model, 1000, 6, write)
    keys, basis = 4 * layers * 10000 * mlp, 4 * mlp**2
    assert peak.host == memory.PYTHON + keys + basis
    parts = 4 * memory.parameters(model) + basis + 8 * 2 * 10000 * mlp + 2 * 8 * 10000**2
    assert parts < peak.device < 1.3 * parts
    assert memory.finding_null_spaces(model, layers).host > 8 * layers * mlp**2


# --------------------------------------------------------------------------------------------------
# Batches


def test_batches_are_edited_kept_and_scored():
    settings = study(["AlphaEdit", "MEMIT_seq"], ["MEMIT"])
    plan = planned(settings)
    first, second = plan.sequences
    assert (first.method, second.method) == ("AlphaEdit", "MEMIT_seq")
    assert (first.size, first.batches, first.trials, first.iterations) == (SIZE, COUNT, 2, 10)
    assert first.counts == {"edit_batch": (60, 0), "keep_batch": (6, 0), "score_batch": (6, 0)}
    assert (first.jobs, first.done, first.expected, first.most) == (60, 0, 30, 60)
    assert 0 < first.score_hours < first.hours < first.most_hours
    # Model, contexts, covariance, factors, null spaces; requests, a filter and unedited scores for
    # each trial; two runs with metrics.
    assert plan.jobs == (5 + 3 * 2 + 2 + 20 + 2 * (60 + 6 + 6), 0)
    parts = sum(e.hours for e in (*plan.edits, *plan.sequences))
    assert plan.hours() == pytest.approx(parts + sum(s.hours or 0 for s in plan.stages))
    assert plan.hours() < plan.hours(most=True)
    assert planned(settings, speeds=False).hours() is None


def test_the_hours_are_those_of_the_jobs():
    settings = study(cache="released", trials={"count": 1, "size": 24})
    (line,) = planned(settings).sequences
    edit = edit_of(settings, "geography-eligible", MODEL, "AlphaEdit")
    expected = most = 0.0
    for batch in range(COUNT):
        for k in range(1, 6):
            steps = (0.95, 0.55, 0.25, 0.15, 0.15)[k - 1] * 20
            expected += edit.iteration(SIZE, steps, SIZE * (5 * batch + k - 1)).seconds(SPEED)
        for k in range(1, 11):
            most += edit.iteration(SIZE, 20, SIZE * (10 * batch + k - 1)).seconds(SPEED)
    scored = sum(
        costs.scoring(edit.model, edit.shape, n * SIZE, 50, edit.token_budget).seconds(SPEED)
        for n in (1, 2, 3)
    )
    assert line.score_hours == pytest.approx(scored / 3600)
    assert line.hours == pytest.approx((expected + scored) / 3600)
    assert line.most_hours == pytest.approx((most + scored) / 3600)
    assert line.first_hours == pytest.approx(edit.iteration(SIZE, 20).seconds(SPEED) / 3600)


def test_what_is_done_of_a_sequence_is_not_counted_again():
    settings = study(trials={"count": 1, "size": 24})
    (chain,) = (nothing(settings, one) for one in settings.sequences)
    one, two, three = chain.batches
    begun = replace(two, progress=replace(two.progress, done=1, edited=1))
    (fresh,) = planned(settings, [chain]).sequences
    (line,) = planned(settings, [replace(chain, batches=(done(one, 3), begun, three))]).sequences
    assert line.counts == {"edit_batch": (30, 11), "keep_batch": (3, 1), "score_batch": (3, 1)}
    # The one that stopped says what the others will do.
    assert (line.expected, line.most) == (3 + 3 + 3, 3 + 10 + 10)
    assert 0 < line.hours < fresh.hours and 0 < line.score_hours < fresh.score_hours
    assert line.disk < fresh.disk and line.disk_most < fresh.disk_most
    over = replace(chain, batches=tuple(done(batch, 2) for batch in chain.batches))
    (line,) = planned(settings, [over], here=True).sequences
    assert (line.hours, line.most_hours, line.disk, line.disk_most) == (0, 0, 0, 0)
    assert (line.expected, line.most) == (6, 6)


@pytest.mark.parametrize(("keep", "stay"), [("last", 2), ("all", 3)])
def test_disk_holds_one_batchs_iterations_what_stays_and_keys(keep, stay):
    settings = study(keep=keep, trials={"count": 1, "size": 24})
    plan = planned(settings)
    (line,) = plan.sequences
    matrices = memory.disk(settings.models[MODEL], LAYERS, 1).run
    keys = 4 * LAYERS * SIZE * 1536
    assert line.disk_most == (10 + stay) * matrices + (3 * 10 + 3) * keys
    assert line.disk == (5 + stay) * matrices + (3 * 5 + 3) * keys
    assert plan.disk["batches"] == line.disk_most
    forgetful = planned(study(["MEMIT"], keep=keep, trials={"count": 1, "size": 24}))
    assert forgetful.sequences[0].disk_most == (10 + stay) * matrices


def test_runs_that_keep_keys_leave_them_too():
    kept, forgot = (
        planned(study(["MEMIT"], ["AlphaEdit"], cache=cache)).disk["states"]
        for cache in ("other_batches", "none")
    )
    assert kept - forgot == 2 * 10 * 4 * LAYERS * 24 * 1536


def test_earlier_batches_scale_the_times():
    settings = study()
    edit = edit_of(settings, "geography-eligible", MODEL, "AlphaEdit")
    seconds = 3 * edit.iteration(SIZE, 18).seconds(SPEED)
    job = Measured("geography-eligible", MODEL, "AlphaEdit", "CPU", seconds, SIZE, 18, scored=False)
    (line,), (slower,) = planned(settings).sequences, planned(settings, measured=[job]).sequences
    assert slower.measured == 1
    edits, three = (e.hours - e.score_hours for e in (line, slower))
    assert three == pytest.approx(3 * edits) and slower.score_hours == line.score_hours


def test_the_text_has_batches_with_and_without_runs():
    for runs in ((), ("MEMIT",)):
        settings = study(runs=runs)
        for speeds in (True, False):
            plan = planned(settings, speeds=speeds)
            known = {MODEL: SPEED} if speeds else {}
            text = describe(plan, MACHINE, settings.config.compute, known, [])
            rows = [line.split() for line in text.splitlines()]
            assert ["edit_batch", "60", "0"] in [row[:3] for row in rows]
            assert ["keep_batch", "6", "0", "-"] in rows
            assert ["score_batch", "6", "0"] in [row[:3] for row in rows]
            assert [f"geography-eligible, {MODEL}"] in [[line] for line in text.splitlines()]
            (row,) = (row for row in rows if row[:1] == ["AlphaEdit"])
            assert row[1:9] == ["2", "x", "3", "x", "4", "0", "of", "60"]
            assert "Each batch is iterated to its stop before the next starts" in text
            assert "The neighbor filter has not run yet" in text
            assert ("what stopping saves" in text) == bool(runs)
            total = 60 + 20 * len(runs)
            assert f"{total} edit jobs, 0 of them done" in text
            assert "find_null_spaces" in text and ", batches" in text.split("Disk:")[1]


def test_batches_that_do_not_fit_are_said_with_a_budget_that_would():
    batches = {"size": 24, "count": 1}
    runs = [block(requests="eligible", methods=["AlphaEdit"], batches=batches)]
    settings = default(runs=runs, compute={"device": "cuda", "token_budget": 4096})
    need = max(job.peak.device for job in peaks(settings) if job.requests)
    machine = replace(MACHINE, gpu="small", device_bytes=0.7 * need)
    (line,) = missing(settings, machine, 0, jobs_of(settings))
    assert "a batch of AlphaEdit on geography-eligible needs" in line
    budget = int(line.split("token_budget = ")[1].split()[0])
    write = write_of(settings, settings.sequences[0])
    assert memory.editing(settings.models[MODEL], budget, 24, 6, write).device <= 0.7 * need


# --------------------------------------------------------------------------------------------------
# What is there


def test_a_sequence_is_read_from_its_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = study(trials={"count": 1, "size": 24}, stop={"iterations": 2, "extended": 3})
    inventory = Inventory(settings)
    (chain,) = survey.sequences(inventory)
    assert [batch.progress for batch in chain.batches] == [Progress(3, 0, 0, False)] * COUNT
    assert chain.requests == 24 and not any(b.kept or b.scored for b in chain.batches)
    files, names = Layout(settings.config.name), settings.sequences[0].key._asdict()

    def state(k, **more):
        path = files.batch_iteration_files["state"].format(**names, batch=1, k=k)
        write_state(tmp_path / path, state_of(k, **more))

    state(1)
    state(2, stopped=True)
    state(3, stopped=True, passed_on=True)
    for file in ("state.json", "scores.parquet"):
        path = tmp_path / files.batch(file).format(**names, batch=1)
        path.write_text("")
    trial = tmp_path / inventory.requests_of(settings.sequences[0])
    trial.parent.mkdir(parents=True)
    trial.write_text("{}\n" * 13)
    (chain,) = survey.sequences(inventory)
    assert chain.batches[0] == BatchState(Progress(3, 3, 2, True), True, True)
    assert chain.batches[1] == BatchState(Progress(3, 0, 0, False), False, False)
    assert chain.requests == 13


def test_earlier_jobs_of_batches_are_told_apart(tmp_path):
    run = Run("geography-eligible", MODEL, "AlphaEdit", 1)
    folder = tmp_path / "demo/sequences/batches_of_4" / str(run.key) / "batch2/iter1"
    used = {"device": "CPU", "seconds": 9.5, "peak_host_gb": 1.0}
    write_json(folder / "hardware.json", used | {"peak_device_gb": None, "energy_kwh": None})
    pd.DataFrame({"steps": [20, 10]}).to_parquet(folder / "edits.parquet")
    expected = Measured(*run.key[:3], "CPU", 9.5, 2, 15.0, scored=False)
    assert survey.earlier_jobs(tmp_path) == [expected]
