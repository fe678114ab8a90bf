"""The libraries that the report carries are the published ones, each with its licence."""

import hashlib

import pytest
import yaml

from modeledit.presentation import VENDORED

LIBRARIES = yaml.safe_load((VENDORED / "libraries.yaml").read_text("utf-8"))
FILES = {name: digest for one in LIBRARIES.values() for name, (_, digest) in one["files"].items()}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_what_was_published(name):
    assert hashlib.sha256((VENDORED / name).read_bytes()).hexdigest() == FILES[name]


def test_every_file_is_listed_and_every_library_has_its_licence():
    ours = {"libraries.yaml", "vendor.py"}
    assert {path.name for path in VENDORED.iterdir() if path.is_file()} - ours == set(FILES)
    for library in LIBRARIES.values():
        (text,) = [name for name in library["files"] if name.endswith(".LICENSE")]
        words = {"ISC": "Permission to use, copy, modify", "MIT": "Permission is hereby granted"}
        assert words[library["licence"]] in (VENDORED / text).read_text("utf-8")


@pytest.mark.parametrize("name", [name for name in FILES if not name.endswith(".LICENSE")])
def test_no_file_ends_the_element_that_it_stands_in(name):
    text = (VENDORED / name).read_text("utf-8").lower()
    assert "</script" not in text and "</style" not in text and "<!--" not in text
