"""A configuration that only names a file of facts becomes a whole one."""

from pathlib import Path

import pytest
import yaml

from modeledit.data.record_files import count_records
from modeledit.study.config import ConfigError, load_settings
from modeledit.study.own_facts import takes_export
from tests.study.test_config import changed, problems_of

ROOT = Path(__file__).parents[2]
FACTS = "config/my_facts.csv"


def settings_of(**facts):
    return load_settings(changed(facts={"path": FACTS} | facts), ROOT, count_records)


def test_all_facts_of_the_file_are_one_trial():
    settings = settings_of()
    (run,) = settings.runs
    assert run.key == ("facts-eligible", "smollm2-135m", "MEMIT", 1)
    assert settings.config.trials.size == count_records(ROOT / FACTS) == 5
    assert settings.config.eligible.others == "keep"
    assert settings.config.eligible.editing_neighbors == 0


def test_the_rest_is_the_default():
    default = load_settings(changed(), ROOT, count_records).config
    ours = settings_of().config
    for name in ("preset", "seed", "stop", "text", "covariance", "compute"):
        assert getattr(ours, name) == getattr(default, name), name


@pytest.mark.parametrize(("method", "count"), [("NA_MEMIT", 1), ("NAP2_PMET", 2)])
def test_a_method_with_neighbors_refuses_facts_without(method, count):
    eligible = settings_of(method=method).config.eligible
    assert (eligible.others, eligible.editing_neighbors) == ("refuse", count)


def test_a_path_alone_is_enough():
    settings = load_settings(changed(facts=FACTS), ROOT, count_records)
    assert settings.config.facts.path == FACTS and settings.config.facts.method == "MEMIT"


def test_config_mine_is_laid_over_the_default():
    mine = yaml.safe_load((ROOT / "config/mine.yaml").read_text(encoding="utf-8"))
    settings = load_settings(changed(**mine), ROOT, count_records)
    assert settings.config.name == "mine" and settings.config.facts.path == FACTS


def test_all_that_is_wrong_is_said_at_once():
    said = problems_of(changed(facts={"path": "no.csv", "model": "gpt-9", "method": "MAGIC"}))
    text = "\n".join(said)
    for words in ("'no.csv': no such file", "'gpt-9'", "'MAGIC'", "facts"):
        assert words in text


@pytest.mark.parametrize("facts", [{}, {"path": 7}, {"path": FACTS, "modle": "x"}, 7])
def test_a_block_that_is_none_is_refused(facts):
    with pytest.raises(ConfigError, match="facts"):
        load_settings(changed(facts=facts), ROOT, count_records)


def test_an_export_writes_over_nothing_else(tmp_path):
    there = tmp_path / "there"
    assert takes_export(there)
    there.mkdir()
    assert takes_export(there)
    (there / "thesis.tex").touch()
    assert not takes_export(there)
    said = "\n".join(problems_of(changed(facts={"path": FACTS, "export": str(there)})))
    assert str(there) in said and "facts.export" in said
    (there / "edited.json").touch()
    assert takes_export(there)
    assert not takes_export(there / "thesis.tex")


def test_keeping_needs_no_neighbors_for_editing():
    said = problems_of(changed(eligible={"others": "keep"}))
    assert any("eligible.editing_neighbors = 1" in line for line in said)
