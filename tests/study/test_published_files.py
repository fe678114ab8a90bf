"""The published files that are described: what they hold, and which of them a run is made of."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from modeledit.data.readers import READERS, read_me_ppl
from modeledit.io.files import file_digest
from modeledit.study.checks import check_published
from modeledit.study.published_files import PublishedFiles, Sources
from modeledit.study.validation import Invalid, validate

ROOT = Path(__file__).parents[2]
DESCRIPTION = yaml.safe_load((ROOT / "config" / "sources.yaml").read_text("utf-8"))
SOURCES = Sources(validate(PublishedFiles, DESCRIPTION, "config/sources.yaml"))
SPEC = (ROOT / "docs" / "SPEC.md").read_text("utf-8")
ORIGINAL = ROOT.parent / "shared" / "data"
KINDS = {"counterfact": "counterfact", "zsre": "zsre", "neighbors": "eligible"}


def changed(**parts):
    """The description with some of its parts replaced."""
    return DESCRIPTION | parts


@pytest.mark.parametrize("name", ["../x.json", "a/../../x", "/etc/x", "a//b", "a b", "", ".."])
def test_a_file_stays_below_the_downloads(name):
    described = changed(files=DESCRIPTION["files"] | {name: DESCRIPTION["files"]["ME-PPL_50.json"]})
    with pytest.raises(Invalid, match=r"files\..* = .*: must be matching "):
        validate(PublishedFiles, described, "sources")


def test_what_is_named_must_be_described():
    files = {name: dict(file) for name, file in DESCRIPTION["files"].items()}
    files["ME-PPL_50.json"]["place"] = "moon"
    described = changed(files=files, trials={"zsre": ["gone.json"]}, perplexity="none.json")
    lines = list(check_published(validate(PublishedFiles, described, "sources")))
    assert lines == [
        "config/sources.yaml: files.ME-PPL_50.json.place = 'moon': allowed: authors, memit",
        "config/sources.yaml: trials.zsre = 'gone.json': not described below files",
        "config/sources.yaml: perplexity = 'none.json': not described below files",
    ]


def test_an_address_with_a_password_is_refused_without_saying_it():
    places = DESCRIPTION["places"] | {"memit": ["https://me:s3cret@mirror.org/data"]}
    described = validate(PublishedFiles, changed(places=places), "sources")
    (line,) = check_published(described)
    assert line.startswith(
        "config/sources.yaml: places.memit.0 = 'https://***@mirror.org/data': a password would be"
    )
    assert line.endswith("into ~/.netrc, from where it is taken")
    # nor is it said where something else is wrong with the address
    places["memit"] = ["https://me:s3cret@mirror.org/data/"]
    with pytest.raises(Invalid, match=r"= 'https://\*\*\*@mirror.org/data/': must be"):
        validate(PublishedFiles, changed(places=places), "sources")


def test_what_is_named_is_described():
    named = [SOURCES.perplexity, *SOURCES.eligible.values(), *DESCRIPTION["whole"].values()]
    named += [name for kind in DESCRIPTION["trials"] for name in SOURCES.trials(kind)]
    assert sorted(named) == sorted(SOURCES.files)
    for source in SOURCES.files.values():
        assert source.urls and all(url.endswith(f"/{source.path}") for url in source.urls)


def test_the_authors_trials_are_the_specified_ones():
    for kind, section in (("counterfact", "E.1"), ("zsre", "E.2")):
        part = SPEC.split(f"\n### {section} ")[1].split("\n### ")[0]
        subsets = re.search(r"Trials: subsets ([\d, ]+)", part)[1].split(", ")
        found = [re.findall(r"_(\d+)\.json", name)[0] for name in SOURCES.trials(kind)]
        assert found == subsets
    for size, name in SOURCES.eligible.items():
        assert SOURCES.records(name) == size and f"_{size}." in name
    assert SOURCES.trials("geography") == () and SOURCES.whole("zsre") is None


def test_only_what_nobody_published_a_digest_of_is_without_one():
    assert [s.name for s in SOURCES.files.values() if s.sha256 is None] == [
        SOURCES.whole("counterfact")
    ]


@pytest.mark.skipif(not ORIGINAL.is_dir(), reason="the original data is not beside the repository")
@pytest.mark.parametrize("name", [n for n, s in SOURCES.files.items() if s.sha256])
def test_digests_and_counts_are_those_of_the_original_files(name):
    path = ORIGINAL / name
    assert file_digest(path) == SOURCES.files[name].sha256
    folder = name.split("/")[0]
    records = READERS[KINDS[folder]](path) if folder in KINDS else read_me_ppl(path)
    assert len(records) == SOURCES.records(name)


def test_statistics_of_every_edited_layer():
    for model in DESCRIPTION["statistics"]["models"]:
        hyper = yaml.safe_load((ROOT / f"config/models/{model}.yaml").read_text("utf-8"))
        layers = hyper["algorithms"]["MEMIT"]["layers"]
        found = [SOURCES.statistics(model, layer) for layer in layers]
        assert len({source.name for source in found}) == len(layers)
        assert all(f".{n}.mlp." in source.path for n, source in zip(layers, found, strict=True))
        assert set(hyper["algorithms"]["ROME"]["layers"]) <= set(layers)
        assert SOURCES.has_statistics(model)
    assert not SOURCES.has_statistics("smollm2-135m")


def test_the_parts_of_the_dump():
    paths = [shard.path for shard in SOURCES.shards()]
    assert paths[0] == "20231101.en/train-00000-of-00041.parquet"
    assert paths[-1] == "20231101.en/train-00040-of-00041.parquet"
    assert len({shard.name for shard in SOURCES.shards()}) == 41


@given(st.integers(0, 2**32))
def test_one_part_is_chosen_by_the_seed(seed):
    assert SOURCES.one_shard(seed) == SOURCES.one_shard(seed) in SOURCES.shards()


def test_seeds_choose_different_parts():
    assert len({SOURCES.one_shard(seed).path for seed in range(60)}) > 20
