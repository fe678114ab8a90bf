"""What a model is prepared from, by the kind of its source."""

from dataclasses import asdict

import pytest

from modeledit.fetch import origin
from modeledit.study.models import FolderSource, HubSource, WheelSource, source_of

WHEEL = WheelSource(kind="wheel", requirements="envs/tiny.txt", member="tiny/model.gguf")
FOLDER = FolderSource(kind="folder", path="models/tiny", weights="torch")
HUB = HubSource(kind="hub", repo="some/tiny", revision="a" * 40, gated=True, weights="torch")


@pytest.mark.parametrize("source", [WHEEL, FOLDER, HUB], ids=lambda source: source.kind)
def test_plain_data_become_the_source_again(source):
    assert source_of(asdict(source)) == source


def test_a_kind_that_is_none_is_refused():
    with pytest.raises(KeyError, match="disk"):
        source_of({"kind": "disk", "path": "models/tiny"})


def test_a_package_is_unpacked_into_scratch(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(origin, "fetch_member", lambda *a: asked.append(a) or tmp_path / "m.gguf")
    given = tmp_path / "tiny.txt"
    assert origin.fetch_origin(WHEEL, given, tmp_path / "scratch") == tmp_path / "m.gguf"
    assert asked == [(given, "tiny/model.gguf", tmp_path / "scratch")]


def test_the_hub_needs_nothing_that_is_here(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(origin, "fetch_model", lambda *a: asked.append(a) or tmp_path)
    assert origin.fetch_origin(HUB, None, tmp_path / "scratch") == tmp_path
    assert asked == [("some/tiny", "a" * 40, "torch", True)]


def test_a_folder_is_taken_where_it_is(tmp_path):
    assert origin.fetch_origin(FOLDER, tmp_path, tmp_path / "scratch") == tmp_path


@pytest.mark.parametrize("source", [WHEEL, FOLDER], ids=lambda source: source.kind)
def test_nothing_given_is_said(tmp_path, source):
    with pytest.raises(ValueError, match=f"from a {source.kind} needs the file or folder"):
        origin.fetch_origin(source, None, tmp_path)
