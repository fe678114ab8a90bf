"""What a study consists of, without a workflow: files, jobs, and what of it is there."""

from collections import Counter
from pathlib import Path

import pytest

from modeledit.data.record_files import count_records
from modeledit.study.config import load_settings
from modeledit.study.inventory import EditFiles, Inventory
from modeledit.study.jobs import Job, Kind
from modeledit.study.layout import Layout, Run
from tests.study.test_config import FACTS, KNOWN, MODEL, ROOT, block, changed, published

AT = Layout("demo")


def study(config, there=(), project=""):
    """The inventory of a configuration on a disk that holds `there` and nothing else."""
    return Inventory(
        load_settings(config, ROOT, count_records), project, exists=set(there).__contains__
    )


def default(**parts):
    return study(changed(**parts))


def test_all_iterations_of_a_run_belong_to_a_whole_study():
    run = Run("geography-eligible", MODEL, "MEMIT", 1)
    inventory = default(stop={"iterations": 2, "extended": 3})
    assert inventory.iterations(run) == [1, 2, 3]
    assert inventory.states(run) == [
        f"results/demo/geography-eligible/{MODEL}/MEMIT/trial1/iter{k}/state.json"
        for k in (1, 2, 3)
    ]
    assert len(inventory.reported_iterations("{trial}.{k}")) == 3 * 2 * 3
    own = default(runs=[block() | {"trials": 1, "iterations": 4}])
    assert own.iterations(own.settings.runs[0]) == [1, 2, 3, 4]


def test_of_a_partial_study_only_what_is_there():
    run, other = (Run("geography-eligible", MODEL, "MEMIT", trial) for trial in (1, 2))
    scores = AT.iteration_files["scores"]
    there = [scores.format(**vars(run), k=k) for k in (1, 2)]
    there += [AT.run_metrics.format(**vars(other)), AT.unedited_scores.format(**vars(run))]
    inventory = study(changed(partial=True), there)
    assert inventory.iterations(run) == [1, 2] and inventory.iterations(other) == []
    assert inventory.reported_runs() == [run, other]
    assert inventory.reported_iterations(scores) == there[:2]
    # Where nothing is there but metrics.csv, all runs stand in it.
    assert len(study(changed(partial=True)).reported_runs()) == 6


def test_a_partial_study_has_something_to_show_once_a_run_was_scored_before_and_after():
    run, config = Run("geography-eligible", MODEL, "MEMIT", 1), changed(partial=True)
    first = AT.iteration_files["scores"].format(**vars(run), k=1)
    unedited = AT.unedited_scores.format(**vars(run))
    for there in ([], [first], [unedited]):
        assert study(config, there).nothing_to_show()
    for there in ([first, unedited], [AT.overall("metrics.csv")]):
        assert not study(config, there).nothing_to_show()
    assert not default().nothing_to_show()


def test_a_recipe_names_a_tolerance_only_where_there_is_one():
    usual = default().covariance_recipe(MODEL)
    assert "tolerance" not in usual
    asked = default(covariance={"tolerance": 0.01}).covariance_recipe(MODEL)
    assert asked == usual | {"tolerance": "0.01"}


def test_requests_are_those_of_the_filter_or_of_the_authors():
    inventory = study(published(FACTS, KNOWN, eligible={"authors": {MODEL: 739}}))
    folder = "results/demo/counterfact"
    assert inventory.requests("counterfact", MODEL, 2) == f"{folder}/trials/trial2.jsonl"
    authors = f"{folder}/{MODEL}/eligible/authors.jsonl"
    assert inventory.requests("counterfact-eligible", MODEL, 1) == authors
    assert default().requests("geography-eligible", MODEL, 3) == (
        f"results/demo/geography/{MODEL}/eligible/trial3.jsonl"
    )
    assert inventory.published_eligible("counterfact", MODEL) == (
        "resources/downloads/neighbors/random_subset_739.json"
    )
    assert inventory.published_trial("counterfact", "2") == (
        "resources/downloads/counterfact/random_subset_10.json"
    )


def test_files_of_the_project_are_found_from_elsewhere(tmp_path):
    path = tmp_path / "facts.json"
    path.write_text("[" + ", ".join(["{}"] * 100) + "]", encoding="utf-8")
    datasets = {"own": {"source": "counterfact", "path": str(path)}}
    config = changed(datasets=datasets, runs=[block(dataset="own")])
    assert study(config, project="/there/").dataset_file("own") == str(path)
    assert default().source_path(MODEL) == "envs/smollm2.txt"
    assert study(changed(), project="/there/").source_path(MODEL) == "/there/envs/smollm2.txt"


def test_jobs_are_named_once_by_the_files_that_they_leave():
    inventory = default(trials={"count": 2})
    jobs = inventory.jobs()
    assert len(jobs) == len(set(jobs)) == len({job.file for job in jobs})
    counts = Counter(job.kind for job in jobs)
    assert counts == {
        "prepare_model": 1,
        "make_contexts": 1,
        "gather_covariance": 1,
        "factorize_covariance": 1,
        "requests": 2,
        "find_eligible": 2,
        "score_unedited": 2,
        "evaluate_run": 4,
    }
    assert Job(Kind.PREPARE, f"resources/models/{MODEL}", MODEL) in jobs
    without = default(switches={"rome_covariance": False}, runs=[block(methods=["ROME"])])
    assert not {job.kind for job in without.jobs()} & {Kind.GATHER, Kind.FACTORIZE}
    assert without.every_factor() == []


def test_downloads_are_what_the_runs_need():
    runs = [FACTS | {"trials": 2}, KNOWN]
    inventory = study(
        published(*runs, eligible={"authors": {MODEL: 739}}, text={"perplexity": "authors"})
    )
    assert inventory.needed_downloads() == [
        "counterfact/random_subset_1.json",
        "counterfact/random_subset_10.json",
        "neighbors/random_subset_739.json",
        "ME-PPL_50.json",
    ]
    assert set(inventory.needed_downloads()) <= set(inventory.downloads())
    assert default().needed_downloads() == []
    fast = default(covariance={"source": "fast"})
    (shard,) = fast.needed_downloads()
    assert fast.covariance_texts() == [f"resources/downloads/{shard}"] and shard in fast.downloads()
    recompute = default(covariance={"source": "recompute"})
    assert len(recompute.needed_downloads()) == len(recompute.covariance_texts()) > 1


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("embedded", {"dump": "gensim-excerpt", "articles": "64", "max_length": "1024"}),
        ("fast", {"articles": "few", "max_length": "context", "seed": "42"}),
        ("recompute", {"articles": "100000", "max_length": "context", "dtype": "float64"}),
    ],
)
def test_a_covariance_says_what_it_is_made_of(source, expected):
    recipe = default(covariance={"source": source}).covariance_recipe(MODEL)
    assert recipe.items() >= expected.items() and recipe["layers"] == "3 4 5 6 7"
    assert all(isinstance(value, str) for value in recipe.values())


def test_the_authors_covariances_come_layer_by_layer():
    config = changed(runs=[block(models=["gpt2-xl"])], covariance={"source": "authors"})
    inventory = study(config)
    layers = inventory.settings.layers("gpt2-xl")
    paths = inventory.published_covariances("gpt2-xl")
    assert len(paths) == len(layers) == len(set(paths))
    assert set(inventory.downloads()) >= {p.removeprefix("resources/downloads/") for p in paths}
    recipe = inventory.covariance_recipe("gpt2-xl")
    assert recipe["dtype"] == "float32" and recipe["seed"] == "1"
    assert recipe["max_length"] == "context"


def test_single_edits_are_shown_of_runs_with_all_files():
    inventory = default(trials={"count": 1}, runs=[block()])
    (edits,) = inventory.single_edits()
    folder = f"results/demo/geography/{MODEL}"
    assert edits == EditFiles(
        f"{folder}/MEMIT/trial1/request_metrics.parquet",
        "results/demo/geography/trials/trial1.jsonl",
        f"results/demo/statistics/{MODEL}/contexts.json",
        f"{folder}/unedited/trial1/scores.parquet",
    )
    scores = AT.iteration_files["scores"].format(**vars(inventory.settings.runs[0]), k=1)
    one = changed(partial=True, trials={"count": 1}, runs=[block()])
    full = [edits.requests, edits.contexts, edits.unedited, scores]
    assert study(one, full).single_edits() == [edits]
    for lacking in full:
        assert study(one, set(full) - {lacking}).single_edits() == []


def test_own_answers_are_read_where_specificity_is_about_them():
    assert default().own_answers("geography", MODEL, 1) == []
    asked = default(switches={"specificity_gt": "model_output"})
    assert asked.own_answers("geography", MODEL, 1).endswith(
        "geography/" + MODEL + "/unedited/trial1/scores.parquet"
    )


def test_paths_exist_on_the_disk_unless_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inventory = Inventory(load_settings(changed(partial=True), ROOT, count_records))
    Path("here.csv").touch()
    assert inventory.at_hand(["here.csv", "gone.csv"]) == ["here.csv"]


def test_a_partial_study_leaves_out_a_model_that_is_there_in_part():
    config, folder = changed(partial=True, runs=[block()]), f"resources/models/{MODEL}"
    assert study(config, [folder]).prepared_models() == []
    assert study(config, [folder, f"{folder}/prepared.json"]).prepared_models() == [folder]
    assert study(changed(runs=[block()])).prepared_models() == [folder]


# ---- Sequences of batches


def sequences(there=(), runs=(), **parts):
    """A study of one sequence of three batches, and of runs."""
    own = block() | {"trials": 1, "batches": {"size": 2, "count": 3}}
    return study(changed(runs=[*runs, own], **parts), there)


def files_of(*batches):
    """What batches of the sequence leave, and what it starts from."""
    (one,) = sequences().settings.sequences
    names = one.key._asdict()
    start = [AT.trial.format(**names), AT.unedited_scores.format(**names)]
    return start + [
        AT.batch(file).format(**names, batch=b)
        for b in batches
        for file in ("scores.parquet", "state.json", "norms.csv")
    ]


def test_a_whole_study_has_all_batches_of_a_sequence():
    inventory = sequences()
    (one,) = inventory.settings.sequences
    assert inventory.batches(one) == [1, 2, 3] and inventory.reported_sequences() == [one]
    assert not inventory.has_runs() and inventory.reported_runs() == []
    assert not inventory.nothing_to_show()
    assert inventory.reported_requests() == [AT.trial.format(dataset="geography", trial=1)]
    assert inventory.prepared_models() == [f"resources/models/{MODEL}"]


def test_a_partial_study_has_the_batches_that_are_there_whole():
    (one,) = sequences().settings.sequences
    found = sequences(files_of(1, 2), partial=True)
    assert found.batches(one) == [1, 2] and found.reported_sequences() == [one]
    unscored = sequences(
        [path for path in files_of(1, 2) if "batch2/norms" not in path], partial=True
    )
    assert unscored.batches(one) == [1]
    for there in ([], files_of(), files_of(1)[1:]):
        nothing = sequences(there, partial=True)
        assert nothing.reported_sequences() == [] and nothing.nothing_to_show()


def test_a_partial_study_takes_metrics_of_a_sequence_as_they_are():
    (one,) = sequences().settings.sequences
    names = ("metrics.csv", "request_metrics.parquet")
    there = [AT.sequence(name).format(**one.key._asdict()) for name in names]
    found = sequences(there, partial=True)
    assert found.reported_sequences() == [one] and found.batches(one) == [1, 2, 3]


def test_a_partial_study_may_have_sequences_and_no_run_yet():
    found = sequences(files_of(1), runs=[block()], partial=True)
    assert not found.has_runs() and found.reported_runs() == []
    assert len(found.reported_sequences()) == 1 and not found.nothing_to_show()
    both = sequences([*files_of(1), AT.overall("metrics.csv")], runs=[block()], partial=True)
    assert both.has_runs() and len(both.reported_runs()) == len(both.settings.runs)
