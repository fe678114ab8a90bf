"""The first lines of an edit of one's own facts."""

from modeledit.presentation.opening import opening_lines
from modeledit.study.inventory import Inventory
from tests.study.test_config import changed
from tests.study.test_inventory import study

FACTS = {"path": "config/my_facts.csv"}


def made(tmp_path, inventory):
    files = inventory.files
    names = ("resources/models/{model}/prepared.json", files.contexts, files.covariance)
    for name in (*names, files.panel):
        path = tmp_path / name.format(model="smollm2-135m")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_what_is_prepared_first_is_said_until_it_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inventory: Inventory = study(changed(facts=FACTS))
    head, prepared, *lines = opening_lines(inventory)
    assert "5 facts of config/my_facts.csv in SmolLM2-135M with MEMIT" in head
    assert prepared.startswith("Prepared first") and len(lines) == 4
    assert "covariance" in lines[1]
    made(tmp_path, inventory)
    _, prepared = opening_lines(inventory)
    assert "is prepared" in prepared


def test_another_study_says_nothing():
    assert opening_lines(study(changed())) == []
