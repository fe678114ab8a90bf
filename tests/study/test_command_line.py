"""What a nested value on the command line means."""

from copy import deepcopy

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from modeledit.study.command_line import retype


def as_snakemake_reads(text):
    """A nested value of --config: YAML whose scalars all stay text."""
    return yaml.load(text, Loader=yaml.BaseLoader)


def test_nested_numbers_and_booleans_have_their_types():
    before = {"trials": {"count": 3, "size": 24}, "compute": {"threads": 1}, "name": "demo"}
    given = {
        "trials": as_snakemake_reads("{size: 2}"),
        "compute": as_snakemake_reads("{deterministic: true, device: cpu}"),
        "covariance": as_snakemake_reads("{length: null}"),
        "runs": as_snakemake_reads("[{trials: 1, methods: [MEMIT, PMET]}]"),
    }
    config = before | {
        "trials": before["trials"] | given["trials"],
        "compute": before["compute"] | given["compute"],
        "covariance": given["covariance"],
        "runs": given["runs"],
    }
    retype(config, given)
    assert config == {
        "trials": {"count": 3, "size": 2},
        "compute": {"threads": 1, "deterministic": True, "device": "cpu"},
        "covariance": {"length": None},
        "runs": [{"trials": 1, "methods": ["MEMIT", "PMET"]}],
        "name": "demo",
    }


def test_what_is_not_nested_is_left_to_snakemake():
    config = {"name": "on", "partial": True}
    retype(config, {"name": "on", "partial": True, "gone": "1"})
    assert config == {"name": "on", "partial": True}


def test_a_file_s_text_is_not_touched():
    """Only what the command line gave: a text in a file may look like a number."""
    config = {"datasets": {"own": {"path": "7"}}, "trials": {"size": "2"}}
    retype(config, {"trials": {"size": "2"}})
    assert config == {"datasets": {"own": {"path": "7"}}, "trials": {"size": 2}}


@pytest.mark.parametrize(
    "text",
    ["@x", "a: b", "#x", "a #b", "[", "%TAG", "- a", "2001-99-99", "2001-01-01", "!!int x", "*a"]
    + ["9" * 5000],
)
def test_a_text_that_is_no_number_stays_itself(text):
    """They were quoted on the command line, or YAML would have read something else."""
    config = {"datasets": {"mine": {"path": text}}}
    retype(config, deepcopy(config))
    assert config == {"datasets": {"mine": {"path": text}}}


@given(st.text() | st.text("0123456789.e+-_:xno~", max_size=6))
def test_any_text_is_a_number_boolean_null_or_itself(text):
    config = {"a": {"b": text}}
    retype(config, deepcopy(config))
    assert config["a"]["b"] == text or not isinstance(config["a"]["b"], str)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.sampled_from(["MEMIT", "x y", "a-b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner),
)


@given(
    st.dictionaries(
        st.sampled_from("abc"), st.lists(values) | st.dictionaries(st.just("k"), values)
    )
)
def test_yaml_on_the_command_line_is_yaml_in_a_file(value):
    given_text = {key: as_snakemake_reads(yaml.safe_dump(v)) for key, v in value.items()}
    config = deepcopy(given_text)
    retype(config, given_text)
    assert config == value
