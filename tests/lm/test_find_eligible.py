"""The script behind the neighbor filter: what is kept where no request is left."""

import dataclasses

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
