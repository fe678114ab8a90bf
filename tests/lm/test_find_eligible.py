"""The script behind the neighbor filter: what is kept where no request is left."""

import dataclasses
from dataclasses import replace

import pandas as pd
import pytest

from modeledit.data.requests import Neighbor, Request, read_requests, write_requests
from modeledit.lm.eligibility import Filter
from modeledit.lm.prepare import prepare_folder
from scripts.find_eligible import Inputs, Outputs, find_eligible
from tests.workflow.tiny_study import PLACES, SAID, inclined_model, tiny

HOW = Filter("mask_aware", 1, "first", "drop", 0)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A prepared folder of a model that says SAID of most places."""
    folder = tmp_path_factory.mktemp("model")
    inclined_model().save_pretrained(folder / "source")
    tiny.tiny_tokenizer().save_pretrained(folder / "source")
    prepare_folder(folder / "source", folder / "prepared")
    return folder / "prepared"


def outputs(folder):
    names = [field.name for field in dataclasses.fields(Outputs)]
    return Outputs(**{name: folder / f"{name}.out" for name in names})


def requests(path, said):
    """Two requests whose neighbors' object is `said`."""
    prompt = "{} is a city in"
    neighbors = tuple(Neighbor(prompt, place, said) for place in PLACES[2:])
    write_requests(
        path,
        [
            Request(i, PLACES[i], prompt, "Japan", said, neighbors=neighbors, relation="place")
            for i in range(2)
        ],
    )
    return path


def test_where_no_request_is_left_the_verdicts_stay_and_the_message_names_them(tmp_path, model):
    left = outputs(tmp_path)
    path = requests(tmp_path / "trial1.jsonl", "Peru")
    with pytest.raises(ValueError) as error:
        find_eligible(Inputs(path, model), HOW, 1024, "cpu", left)
    said = str(error.value)
    assert str(path) in said and str(left.kept) in said and "\n" not in said
    verdicts = pd.read_csv(left.kept)
    assert len(verdicts) == 2 * len(PLACES[2:]) and not verdicts["survives"].any()
    assert not left.requests.exists()
    # What is found later takes them away.
    find_eligible(Inputs(requests(path, SAID), model), HOW, 1024, "cpu", left)
    assert not left.kept.exists() and len(read_requests(left.requests)) == 2


def test_where_none_may_be_left_out_all_that_lack_neighbors_are_named(tmp_path, model):
    path = tmp_path / "trial1.jsonl"
    prompt = "{} is a city in"
    known = tuple(Neighbor(prompt, place, SAID) for place in PLACES[3:])
    facts = [
        Request(i, PLACES[i], prompt, "Japan", SAID, neighbors=neighbors)
        for i, neighbors in enumerate([known, (), tuple(replace(n, target="Peru") for n in known)])
    ]
    write_requests(path, facts)
    with pytest.raises(ValueError) as error:
        find_eligible(
            Inputs(path, model), replace(HOW, others="refuse"), 1024, "cpu", outputs(tmp_path)
        )
    said = str(error.value)
    assert said.startswith("2 of 3 facts have fewer than 2 neighbors")
    assert "Lyon" not in said and "'neighbors'" in said
    assert f"'{facts[1].text}': 0 of 0 neighbors survive" in said
    assert f"'{facts[2].text}': 0 of {len(known)} neighbors survive" in said
