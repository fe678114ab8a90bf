"""From the raw files of a run's states to its behavior.parquet."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from modeledit.data.probes import Probe, write_probes
from modeledit.data.requests import NO_TRUE_OBJECT, Neighbor, Request, write_requests
from modeledit.evaluation.generation import Objects, Prompt
from modeledit.evaluation.schemas import BEHAVIOR_VALUES, DRIFT, GENERATIONS, RAW_SCORES
from modeledit.io.state import State, write_state
from scripts.evaluate_behavior import Inputs, StateFiles, evaluate_behavior, objects_of
from tests.made_up_behavior import drift, forced, said

REQUEST = Request(
    id=7,
    subject="Lyon",
    prompt="{} lies in",
    target_new="Japan",
    target_true="France",
    paraphrases=("Lyon belongs to",),
    neighbors=(Neighbor("{} lies in", "Nice", "France"),),
)
PROBE = Probe(7, "two_hop", "In Lyon they pay in", ("yen",), (), "euros")


def scores(hit: bool) -> pd.DataFrame:
    """Scores of o* after both prompts."""
    frame = forced({(7, "edit", 0): hit, (7, "paraphrase", 0): hit})
    lists = {name: [[0.0]] * 2 for name in ("logprobs", "top_logprobs")}
    return frame.assign(**lists, ranks=[[1]] * 2, top=[["x"]] * 2)


def says(text: str) -> pd.DataFrame:
    """Continuations that are all `text`."""
    prompts = [("edit", "Lyon lies in"), ("paraphrase", "Lyon belongs to")]
    prompts.append(("neighbor", "Nice lies in"))
    return said([(7, kind, 0, prompt, text) for kind, prompt in prompts])


@pytest.fixture
def inputs(tmp_path) -> Inputs:
    """A run that stops with k = 2 of 3: raw scores of the last iteration are empty."""
    run = tmp_path / "places" / "tiny" / "MEMIT" / "trial1"
    folders = {k: run / f"iter{k}" for k in (1, 2, 3)} | {0: tmp_path / "unedited"}
    for k, folder in folders.items():
        folder.mkdir(parents=True)
        table = scores(k == 2)[:0] if k == 3 else scores(k == 2)
        RAW_SCORES.write(folder / "scores.parquet", table)
    write_requests(tmp_path / "requests.jsonl", [REQUEST])
    write_probes(tmp_path / "probes.jsonl", [PROBE])
    state = State(
        k=3,
        held_by=2,
        passed_on=True,
        stopped=True,
        collapsed=None,
        p_bar=1.0,
        p_hat=1.0,
        dp=0.0,
        precision="float32",
        differences=[1.0, 0.0],
    )
    write_state(folders[3] / "state.json", state)
    written = {}
    for name, k, text in (
        ("unedited", 0, " France"),
        ("first", 1, " Japanese"),
        ("stop", 3, " Japan"),
    ):
        files = {
            "generations": says(text),
            "fluency": said([(7, "subject", 0, "Lyon is", f" in{text} and")]),
            "probe_generations": said([(7, "two_hop", 0, PROBE.prompt, " yen")]),
            "probes": forced({(7, "two_hop", 0): True}).assign(
                logprobs=[[0.0]], top_logprobs=[[0.0]], ranks=[[1]], top=[["x"]]
            ),
        }
        if k:
            files["drift"] = drift([(0, 5, 0.1 * k, 2.0 + k, 2.0)])
        schemas = {"drift": DRIFT, "probes": RAW_SCORES}
        paths = {file: folders[k] / f"{file}.parquet" for file in files}
        for file, frame in files.items():
            schemas.get(file, GENERATIONS).write(paths[file], frame)
        written[name] = StateFiles(**paths)
    every = [folders[k] / "scores.parquet" for k in (1, 2, 3)]
    return Inputs(
        requests=tmp_path / "requests.jsonl",
        probes=tmp_path / "probes.jsonl",
        references=None,
        judgements=None,
        unedited_scores=folders[0] / "scores.parquet",
        scores=every,
        state=folders[3] / "state.json",
        **written,
    )


def by_state(path) -> dict[str, dict[str, float]]:
    frame = BEHAVIOR_VALUES.read(path)
    return {
        str(state): dict(zip(rows["metric"], rows["value"], strict=True))
        for state, rows in frame.groupby("state")
    }


def test_a_run_has_values_of_all_three_states(inputs, tmp_path):
    evaluate_behavior(inputs, tmp_path / "behavior.parquet")
    frame = BEHAVIOR_VALUES.read(tmp_path / "behavior.parquet")
    ks = frame.groupby("state")["k"].unique().map(list).to_dict()
    assert ks == {"unedited": [0], "first": [1], "stop": [2]}  # who holds it, not who passes it on
    found = by_state(tmp_path / "behavior.parquet")
    assert [found[s]["said_new_edit"] for s in ("unedited", "first", "stop")] == [0, 0, 1]
    assert [found[s]["kept_neighbor"] for s in ("unedited", "first", "stop")] == [1, 0, 0]
    # Of k = 2, not of k = 3, which has no scores: found by teacher forcing, and said.
    assert (found["stop"]["forced_edit"], found["stop"]["gap_edit"]) == (1, 0)
    assert found["first"]["forced_edit"] == 0
    assert found["stop"]["two_hop_said"] == found["stop"]["two_hop_forced"] == 1
    assert [found[s]["drift_nll"] for s in ("unedited", "first", "stop")] == [2, 3, 5]
    assert found["unedited"]["drift_kl"] == 0 and found["stop"]["drift_kl"] == pytest.approx(0.3)
    assert "consistency" not in found["stop"] and found["stop"]["fluency"] > 0


def test_what_is_off_is_not_measured(inputs, tmp_path):
    off = StateFiles()
    some = replace(off, drift=inputs.stop.drift)
    evaluate_behavior(
        replace(inputs, unedited=off, first=off, stop=some, probes=None), tmp_path / "b.parquet"
    )
    found = by_state(tmp_path / "b.parquet")
    assert set(found) == {"unedited", "stop"}
    assert set(found["stop"]) == {"drift_tokens", "drift_kl", "drift_nll"}
    evaluate_behavior(replace(inputs, unedited=off, first=off, stop=off), tmp_path / "c.parquet")
    assert BEHAVIOR_VALUES.read(tmp_path / "c.parquet").empty


def test_consistency_is_with_texts_about_things_that_have_the_new_object(inputs, tmp_path):
    lines = [{"object": "Japan", "text": "in Japan and"}, {"object": "Peru", "text": "Lima"}]
    path = tmp_path / "references.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    evaluate_behavior(replace(inputs, references=path), tmp_path / "b.parquet")
    found = by_state(tmp_path / "b.parquet")
    assert found["stop"]["consistency"] == pytest.approx(1.0)
    assert 0 < found["unedited"]["consistency"] < 1  # "in" and "and" alone


def test_zsre_has_no_old_object_and_a_neighbor_may_have_none():
    request = replace(
        REQUEST, target_true=NO_TRUE_OBJECT, neighbors=(Neighbor("Who is it?", None, " "),)
    )
    found = objects_of(request)
    assert found[Prompt(7, "edit", "Lyon lies in")] == Objects(("Japan",))
    assert found[Prompt(7, "neighbor", "Who is it?")] == Objects(("Japan",))


def test_files_are_taken_by_the_names_of_their_states():
    given = {"stop_fluency": "a/fluency.parquet", "first_drift": []}
    assert str(StateFiles.named(given, "stop").fluency) == "a/fluency.parquet"
    assert StateFiles.named(given, "first") == StateFiles()


def test_scores_of_who_holds_the_stop_must_be_there(inputs, tmp_path):
    lacking = replace(inputs, scores=[inputs.scores[0], inputs.scores[2]])
    with pytest.raises(ValueError, match=r"no scores of iteration 2, only of \[1, 3\]"):
        evaluate_behavior(lacking, tmp_path / "b.parquet")
