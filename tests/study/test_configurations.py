"""The configurations that come with the project: every one can be run, and has what it is for."""

import pytest
import yaml

from modeledit.data.record_files import count_records
from modeledit.study.config import load_settings
from modeledit.study.methods import METHODS
from tests.study.test_config import CONFIG, ROOT, merged

NO_STUDY = {"config", "presets", "sources"}
LAID_OVER = {"paper_cut": "paper"}
STUDIES = sorted({path.stem for path in (ROOT / "config").glob("*.yaml")} - NO_STUDY)


def read(name):
    return yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text(encoding="utf-8"))


def settings_of(name):
    """The checked settings of config/{name}.yaml over what it is made for."""
    below = merged(CONFIG, read(LAID_OVER[name])) if name in LAID_OVER else CONFIG
    return load_settings(merged(below, read(name)), ROOT, count_records)


@pytest.mark.parametrize("name", STUDIES)
def test_every_configuration_can_be_run(name):
    assert settings_of(name).chains


def test_alphaedit_is_in_one_batch_and_in_a_sequence():
    settings = settings_of("alphaedit")
    methods = {"MEMIT", "AlphaEdit", "NA_AlphaEdit"}
    assert {run.method for run in settings.runs} == methods
    assert {one.method for one in settings.sequences} == methods | {"MEMIT_seq"}
    assert {(one.size, one.count) for one in settings.sequences} == {(3, 10)}
    assert settings.switches.key_cache == "other_batches"


def test_emnlp_follows_the_release():
    settings = settings_of("emnlp")
    assert settings.switches.key_cache == "released" and len(settings.models) == 4
    for name in settings.models:
        iterated = {
            run.dataset for run in settings.runs if (run.model, run.method) == (name, "AlphaEdit")
        }
        assert iterated == {"counterfact", "zsre", "counterfact-eligible"}
        hyper = settings.models[name].hyperparameters("AlphaEdit")
        assert (hyper.null_space.kind, hyper.null_space.value, hyper.l2) == ("threshold", 0.02, 10)
        assert any(run.method == "NA_AlphaEdit" for run in settings.runs if run.model == name)
    titles = settings.titles
    assert titles["llama-3-8b"] == "Llama-3 8B base"
    assert settings.models["llama-3-8b"].source.repo == "meta-llama/Meta-Llama-3-8B"


def test_telescoping_has_both_caches_and_smaller_l2():
    settings = settings_of("telescoping")
    methods = [METHODS[run.method] for run in settings.runs]
    assert {m.key_cache for m in methods if m.l2_divisor == 1} == {"none", "released"}
    assert {m.l2_divisor for m in methods} == {1, 2, 3, 4, 5}
    assert all(run.iterations == 1 for run in settings.runs if METHODS[run.method].l2_divisor > 1)
