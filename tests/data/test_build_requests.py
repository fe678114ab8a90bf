"""The script that makes requests of a user's file: what it leaves out may leave too few."""

import json

import pytest

from modeledit.data.requests import read_requests
from modeledit.io.refusal import Refusal
from scripts.build_requests import build_requests


def record(number, subject, new):
    return {
        "case_id": number,
        "requested_rewrite": {
            "prompt": "{} is in",
            "subject": subject,
            "target_new": {"str": new},
            "target_true": {"str": "France"},
        },
        "paraphrase_prompts": [],
        "neighborhood_prompts": [],
    }


def test_records_left_out_are_named_where_too_few_are_left(tmp_path):
    path, output = tmp_path / "facts.json", tmp_path / "requests.jsonl"
    facts = [record(0, "Lyon", "Japan"), record(1, "Nice", "Peru"), record(3, "Lyon", "Peru")]
    path.write_text(json.dumps(facts))
    with pytest.raises(Refusal) as error:
        build_requests("counterfact", path, False, 0, 3, output)
    said = str(error.value)
    assert said.startswith(
        f"{path}: the trials ask for 3 requests, 2 are left; left out: record 3 "
    )
    assert "(id 3)" in said and "'Peru' contradicts record 1 (id 0), 'Japan'" in said
    assert "\n" not in said and not output.exists()
    build_requests("counterfact", path, False, 0, 2, output)
    assert [request.subject for request in read_requests(output)] == ["Lyon", "Nice"]
