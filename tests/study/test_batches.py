"""Batches in sequence, before anything runs: what may be asked for, and what follows from it."""

from dataclasses import replace
from pathlib import Path

import pytest

from modeledit.data.record_files import count_records
from modeledit.study.config import ConfigError, load_settings
from modeledit.study.inventory import Inventory
from modeledit.study.jobs import Job, Kind
from modeledit.study.layout import Layout, Run, RunKey, Sequence, SequenceKey
from modeledit.study.methods import METHODS
from modeledit.study.precedence import Precedence
from modeledit.study.settings import MOST_BATCHES
from tests.study.test_config import KNOWN, MODEL, ROOT, block, changed, problems_of, published

AT = Layout("demo")


def batches(size=2, count=3, **more):
    """A block of runs with batches."""
    kept = {"keep": more.pop("keep")} if "keep" in more else {}
    return block(**more) | {"trials": 1, "batches": {"size": size, "count": count} | kept}


def settings(*runs, **parts):
    return load_settings(changed(runs=list(runs), **parts), ROOT, count_records)


# ---- What may be asked for


@pytest.mark.parametrize(
    ("runs", "line"),
    [
        (
            [batches(size=10, count=3)],
            "config: runs.0.batches: 3 batches of 10 ask for 30 requests, a trial has trials.size "
            "= 24; allowed: size * count at most that",
        ),
        (
            [block(), batches(size=25, count=1)],
            "config: runs.1.batches: 1 batches of 25 ask for 25 requests, a trial has ",
        ),
        (
            [batches(methods=["OPTIMIZATION_MEMIT"])],
            "config: runs.0.methods: 'OPTIMIZATION_MEMIT': it starts each iteration from the "
            "unedited weights, which batches in sequence leave behind; allowed: methods without "
            "OPTIMIZATION_",
        ),
        (
            [batches(), batches(count=2, methods=["PMET", "MEMIT"])],
            f"config: runs.1: geography / {MODEL} / MEMIT / batches of 2 is asked for twice; keep ",
        ),
        ([batches(keep="none")], "config: runs.0.batches.keep = 'none': allowed: last, all"),
        ([batches(size=0)], "config: runs.0.batches.size = 0: must be at least 1"),
        ([batches(count=0)], "config: runs.0.batches.count = 0: must be at least 1"),
        (
            [batches(size=1, count=MOST_BATCHES + 1)],
            f"config: runs.0.batches.count = {MOST_BATCHES + 1}: must be at most {MOST_BATCHES}",
        ),
        ([block(batches={"size": 2})], "config: runs.0.batches: missing count"),
        (
            [batches(methods=["OPTIMIZATION_AlphaEdit"])],
            "config: runs.0.methods: 'OPTIMIZATION_AlphaEdit': allowed: ",
        ),
    ],
)
def test_batches_that_cannot_be_are_refused(runs, line):
    (problem,) = problems_of(changed(runs=runs))
    assert problem.startswith(line)


def test_batches_may_fill_a_trial_and_come_in_several_sizes_beside_single_runs():
    found = settings(block(), batches(size=24, count=1), batches(size=8, count=3))
    assert [(one.size, one.count) for one in found.sequences] == [(24, 1), (8, 3)]
    assert len(found.runs) == 3


def of_authors(models, size, eligible):
    """A batch of requests that are the authors' for some models."""
    runs = KNOWN | {"models": models, "batches": {"size": size, "count": 1}}
    return published(runs, eligible=eligible, trials={"count": 1, "size": 24})


def test_batches_of_the_authors_requests_are_as_many_as_these():
    authors = {"authors": {MODEL: 739}}
    assert load_settings(of_authors([MODEL], 739, authors), ROOT, count_records).sequences
    for size, held in ((None, 739), (5, 5)):
        eligible = authors if size is None else authors | {"size": size}
        (problem,) = problems_of(of_authors([MODEL], held + 1, eligible))
        assert problem == (
            f"config: runs.0.batches: 1 batches of {held + 1} ask for {held + 1} requests, the "
            f"authors' eligible requests for {MODEL} are {held}; allowed: size * count at most that"
        )


def test_the_authors_requests_for_one_model_are_not_those_of_another():
    eligible = {"authors": {"gpt2-xl": 739}}
    (problem,) = problems_of(of_authors([MODEL], 25, eligible))
    assert "a trial has trials.size = 24" in problem
    (problem,) = problems_of(of_authors([MODEL, "gpt2-xl"], 25, eligible))
    assert "a trial has trials.size = 24" in problem
    assert load_settings(of_authors(["gpt2-xl"], 25, eligible), ROOT, count_records)


# ---- What follows from it


def test_sequences_are_every_combination_and_no_runs():
    found = settings(
        block(methods=["PMET"]),
        batches(requests="eligible", methods=["AlphaEdit", "MEMIT_seq"], keep="all")
        | {"trials": 2, "iterations": 4},
        trials={"count": 2, "size": 6},
    )
    assert found.runs == tuple(Run("geography", MODEL, "PMET", trial) for trial in (1, 2))
    assert found.sequences == tuple(
        Sequence("geography-eligible", MODEL, method, trial, 2, 3, "all", 4)
        for method in ("AlphaEdit", "MEMIT_seq")
        for trial in (1, 2)
    )
    assert found.chains == (*found.runs, *found.sequences)
    (kept,) = settings(batches()).sequences
    assert (kept.keep, kept.iterations) == ("last", None)


def test_a_batch_stops_as_a_run_or_after_its_own_iterations():
    found = settings(batches(), batches(size=3) | {"iterations": 4})
    usual, own = (found.stop_of_batch(one) for one in found.sequences)
    assert usual == found.config.stop
    assert own == replace(usual, iterations=4, extended=4)


def test_the_stop_of_runs_is_not_that_of_batches():
    found = settings(block(), batches() | {"iterations": 4})
    assert found.stop("geography", MODEL, "MEMIT") == found.config.stop
    assert found.trials("geography", MODEL, "MEMIT") == 3


@pytest.mark.parametrize(
    ("methods", "factors", "null_spaces"),
    [
        (["AlphaEdit"], False, True),
        (["GROWING_AlphaEdit", "L2_OVER_3_AlphaEdit"], False, True),
        (["MEMIT_seq"], True, False),
        (["AlphaEdit", "PMET"], True, True),
        (["ROME"], False, False),
    ],
)
def test_what_is_made_of_the_covariance_is_what_methods_write_with(methods, factors, null_spaces):
    found = settings(batches(methods=methods), switches={"rome_covariance": False})
    assert any(map(found.needs_factors, methods)) == factors
    assert found.factor_layers(MODEL) == ([3, 4, 5, 6, 7] if factors else [])
    assert found.null_space_layers(MODEL) == ([3, 4, 5, 6, 7] if null_spaces else [])
    every = Inventory(found).every_factor()
    names = [AT.factors] * factors + [AT.null_spaces] * null_spaces
    assert every == [name.format(model=MODEL) for name in names]


def test_rome_needs_factors_only_with_the_covariance():
    for asked in (True, False):
        found = settings(batches(methods=["ROME"]), switches={"rome_covariance": asked})
        assert found.needs_factors("ROME") == found.needs_covariance("ROME") == asked


# ---- Files and jobs


def test_a_sequence_is_found_by_its_wildcards():
    inventory = Inventory(settings(batches(), batches(size=3, count=2, methods=["MEMIT"])))
    for one in inventory.settings.sequences:
        names = {name: str(value) for name, value in one.key._asdict().items()}
        assert inventory.sequence(**names) == one
    with pytest.raises(KeyError, match="no sequence"):
        inventory.sequence(**names | {"size": "4"})


def test_files_of_batches_lie_in_the_folder_of_their_sequence():
    inventory = Inventory(settings(batches() | {"iterations": 2}))
    (one,) = inventory.settings.sequences
    folder = f"results/demo/sequences/batches_of_2/geography/{MODEL}/MEMIT/trial1"
    assert AT.sequence("batches.csv").format(**one.key._asdict()) == f"{folder}/batches.csv"
    assert inventory.of_sequences(AT.sequence("a.csv")) == [f"{folder}/a.csv"]
    expected = [f"{folder}/batch{b}/scores.parquet" for b in (1, 2, 3)]
    assert inventory.of_batches(AT.batch("scores.parquet"), one) == expected
    assert inventory.of_every_batch(AT.batch("scores.parquet")) == expected
    assert inventory.batch_iterations(one) == [1, 2]
    link = AT.batch_iteration_files
    assert "scores" not in link
    assert link["edited"].format(**one.key._asdict(), batch=3, k=2) == (
        f"{folder}/batch3/iter2/edited.safetensors"
    )
    assert SequenceKey.of(Path(folder) / "batch3/iter2/state.json") == one.key
    assert RunKey.of(Path(folder) / "batch3") == RunKey("geography", MODEL, "MEMIT", 1)
    with pytest.raises(ValueError, match="must hold batches_of_<size>"):
        SequenceKey.of(Path(f"results/demo/geography/{MODEL}/MEMIT/trial1"))


def test_matrices_stay_of_the_last_batch_or_of_all():
    inventory = Inventory(settings(batches(), batches(size=3, count=2, keep="all")))
    top = "results/demo/sequences/batches_of_{}/geography/" + MODEL + "/MEMIT/trial1"
    assert inventory.every_kept_matrix() == [
        f"{top.format(2)}/batch3/edited.safetensors",
        f"{top.format(3)}/batch1/edited.safetensors",
        f"{top.format(3)}/batch2/edited.safetensors",
    ]
    assert Inventory(settings(block())).every_kept_matrix() == []


def test_jobs_of_a_study_of_sequences_alone():
    jobs = Inventory(settings(batches(requests="eligible", methods=["AlphaEdit"]))).jobs()
    kinds = [job.kind for job in jobs]
    assert Kind.FACTORIZE not in kinds and Kind.EVALUATE not in kinds
    assert Job(Kind.NULL_SPACE, AT.null_spaces.format(model=MODEL), MODEL) in jobs
    place = {"dataset": "geography-eligible", "model": MODEL, "trial": 1}
    unedited = AT.unedited_scores.format(**place)
    assert Job(Kind.UNEDITED, unedited, MODEL, "geography-eligible", 1) in jobs
    assert kinds.count(Kind.ELIGIBLE) == kinds.count(Kind.REQUESTS) == 1


def test_context_templates_are_made_for_methods_of_batches_too():
    inventory = Inventory(settings(block(), batches(methods=["ROME"])))
    assert inventory.context_sets(MODEL).keys() == {"10x1", "5x2+10x2"}


# ---- The order of jobs


def test_earlier_batches_and_iterations_go_first_and_all_after_the_statistics():
    found = settings(batches() | {"iterations": 3})
    (one,), order = found.sequences, Precedence(found)
    places = [(b, k) for b in (1, 2, 3) for k in (1, 2, 3)]
    ranks = [order.batch(one, *place) for place in places]
    assert ranks == sorted(ranks, reverse=True) and len(set(ranks)) == len(ranks)
    assert order.contexts > ranks[0] and ranks[-1] >= 20
    # As a run's, by the iterations that may follow.
    assert ranks[-1] == order.edit("geography", MODEL, "MEMIT", found.config.stop.extended)


def test_scores_go_before_edits_however_many_batches_follow():
    """In rules/sequences.smk what is kept has 75 and its scores 70: the matrices go after them."""
    found = settings(
        batches(size=1, count=1000) | {"iterations": 50}, trials={"size": 1000, "count": 1}
    )
    assert 70 > Precedence(found).contexts > Precedence(found).batch(found.sequences[0], 1, 1) == 60


# ---- Methods


def test_names_of_alphaedits_variants():
    names = {name for name in METHODS if name.endswith(("AlphaEdit", "MEMIT_seq"))}
    expected = set()
    for plain in ("AlphaEdit", "MEMIT_seq"):
        expected |= {plain, f"SPREAD_{plain}"}
        expected |= {f"{kind}{n}_{plain}" for kind in ("NA", "NAP") for n in ("", *range(2, 10))}
    for probe in ("FRESH_AlphaEdit", "GROWING_AlphaEdit"):
        expected |= {probe, f"SPREAD_{probe}"}
    expected |= {f"L2_OVER_{n}_AlphaEdit" for n in range(2, 11)}
    assert names == expected
    assert not any(METHODS[name].in_paper for name in names)


def test_no_method_that_keeps_keys_repeats_optimization_alone():
    assert "OPTIMIZATION_AlphaEdit" not in METHODS and "OPTIMIZATION_MEMIT_seq" not in METHODS
    assert {m.key_cache for m in METHODS.values() if m.repeats == "optimization"} == {"none"}


@pytest.mark.parametrize("switch", ["none", "other_batches", "released"])
def test_which_methods_keep_keys(switch):
    for name in ("MEMIT", "PMET", "ROME", "NA_MEMIT", "SPREAD_MEMIT", "FRESH_AlphaEdit"):
        assert METHODS[name].keys_kept(switch) == "none"
    for name in (
        "AlphaEdit",
        "NA_AlphaEdit",
        "MEMIT_seq",
        "SPREAD_AlphaEdit",
        "L2_OVER_2_AlphaEdit",
    ):
        assert METHODS[name].keys_kept(switch) == switch
    assert METHODS["GROWING_AlphaEdit"].keys_kept(switch) == "released"


def test_whose_numbers_a_method_takes():
    of = {name: method.parameters for name, method in METHODS.items()}
    assert of["AlphaEdit"] == of["NA2_AlphaEdit"] == of["SPREAD_GROWING_AlphaEdit"] == "AlphaEdit"
    assert of["L2_OVER_10_AlphaEdit"] == of["FRESH_AlphaEdit"] == "AlphaEdit"
    assert of["MEMIT_seq"] == of["NA_MEMIT_seq"] == of["MEMIT"] == "MEMIT"
    inventory = Inventory(settings(batches(methods=["MEMIT_seq", "L2_OVER_2_AlphaEdit"])))
    hyper = inventory.settings.models[MODEL].algorithms
    assert inventory.hyperparameters(MODEL, "MEMIT_seq") == hyper.MEMIT
    assert inventory.hyperparameters(MODEL, "L2_OVER_2_AlphaEdit") == hyper.AlphaEdit
    assert inventory.cut(MODEL) == hyper.AlphaEdit.null_space
    for n in range(2, 11):
        assert METHODS[f"L2_OVER_{n}_AlphaEdit"].l2_divisor == n
    assert METHODS["AlphaEdit"].l2_divisor == METHODS["GROWING_AlphaEdit"].l2_divisor == 1


def test_a_model_without_alphaedits_numbers_cannot_be_edited_with_it():
    with pytest.raises(ConfigError, match="'AlphaEdit': no hyperparameters in config/models/qwen3"):
        settings(batches(models=["qwen3-0.6b"], methods=["AlphaEdit"]))
    with pytest.raises(KeyError, match="qwen3-0.6b has no hyperparameters of AlphaEdit"):
        Inventory(settings(block(models=["qwen3-0.6b"]))).cut("qwen3-0.6b")
