"""What tests of the engine on a device share."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch

from tests.editing.device_study import Study, prepared


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Callable[..., Study]:
    """Make the study of a tiny model of one family; its folder has a prepared model."""
    return partial(prepared, tmp_path_factory.mktemp("study"))


@pytest.fixture
def some_stop_early(monkeypatch) -> None:
    """Within the few steps that are taken here some requests meet the rule, and leave the batch."""
    monkeypatch.setattr("modeledit.editing.optimization.LOSS_STOP", 7.0)


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
