"""A study as the plan finds it on a disk."""

from modeledit.planning import survey
from modeledit.planning.plan import SHARD_BYTES, needed_downloads
from modeledit.study.inventory import Inventory
from tests.study.test_config import changed
from tests.study.test_inventory import study


def test_every_run_is_a_chain_of_its_iterations(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inventory = study(changed(trials={"size": 9}, stop={"iterations": 2, "extended": 3}))
    chains = survey.chains(inventory)
    assert [chain.run for chain in chains] == list(inventory.settings.runs)
    assert {(c.links, c.done, c.requests) for c in chains} == {(3, 0, 9)}


def test_published_files_have_their_sizes():
    settings = study(changed(covariance={"source": "fast"})).settings
    names = Inventory(settings).needed_downloads()
    assert needed_downloads(settings) == {names[0]: SHARD_BYTES} and len(names) == 1
    assert needed_downloads(study(changed()).settings) == {}
