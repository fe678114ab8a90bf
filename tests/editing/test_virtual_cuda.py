"""The engine under CUDA's rules about devices, without a GPU; and that the rules would tell."""

from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
import torch

import modeledit.editing.covariance
import modeledit.editing.covariance_error
import modeledit.editing.covariance_files
import modeledit.editing.factors
import modeledit.editing.job
import modeledit.editing.null_space
import modeledit.editing.optimization
import modeledit.editing.rome
import modeledit.editing.spread
import modeledit.editing.writes
import modeledit.lm.contexts
import modeledit.lm.drift
import modeledit.lm.generation
import modeledit.lm.model
import modeledit.lm.trees
from modeledit.data.requests import Request
from modeledit.editing.null_space import null_space
from modeledit.editing.optimization import optimize
from modeledit.editing.problem import Problem
from modeledit.editing.writes import CovarianceWrite, NullSpaceWrite
from modeledit.lm.device import matrix_precision
from modeledit.lm.model import load_model
from modeledit.lm.tokens import Row
from modeledit.lm.trees import RUN_TOKENS
from modeledit.study.hyperparameters import Cut
from tests.device_slips import planted, slips_of
from tests.editing.device_study import (
    ALL_METHODS,
    HYPER,
    MODELS,
    NAMES,
    PRESETS,
    SAME_SHAPE,
    Study,
)
from tests.editing.tiny_edits import settings_of
from tests.virtual_cuda import CPU, CUDA, MixedDevices, NotDeterministic, VirtualCuda

pytestmark = pytest.mark.usefixtures("some_stop_early")

# What real CUDA refuses, and what it allows


def cuda(*shape: int) -> torch.Tensor:
    return torch.ones(shape, device="cuda")


def cpu(*shape: int) -> torch.Tensor:
    return torch.ones(shape)


def set_item(target: torch.Tensor, index: object, value: object) -> torch.Tensor:
    target[index] = value
    return target


TWO = [0, 1]
REFUSED: dict[str, Callable[[], object]] = {
    "sum": lambda: cuda(2) + cpu(2),
    "one element, but a dimension": lambda: cuda(2) + cpu(1),
    "a CUDA scalar among CPU operands": lambda: cpu(2) * cuda(),
    "in place": lambda: cuda(2).mul_(cpu(2)),
    "in place into a CPU scalar": lambda: cpu().add_(cuda()),
    "augmented": lambda: set_item([cpu(2)], 0, cpu(2).__iadd__(cuda(2))),
    "out": lambda: torch.add(cuda(2), cuda(2), out=cpu(2)),
    "product": lambda: cpu(2, 2) @ cuda(2, 2),
    "linear": lambda: torch.nn.functional.linear(cuda(1, 2), cpu(2, 2)),
    "embedding": lambda: torch.nn.functional.embedding(torch.tensor(TWO), cuda(2, 2)),
    "attention": lambda: torch.nn.functional.scaled_dot_product_attention(
        *[cuda(1, 1, 2, 4)] * 3, attn_mask=cpu(2, 2)
    ),
    "cat": lambda: torch.cat([cuda(2), cpu(2)]),
    "stack of scalars": lambda: torch.stack([cuda(), cpu()]),
    "where": lambda: torch.where(cpu(2) > 0, cuda(2), cuda(2)),
    "masked_fill": lambda: cuda(2).masked_fill(cpu(2) > 0, 0.0),
    "gather": lambda: cuda(2).gather(0, torch.tensor(TWO)),
    "index_add": lambda: cuda(2).index_add(0, torch.tensor(TWO), cuda(2)),
    "index_select": lambda: cpu(2).index_select(0, torch.tensor(TWO, device="cuda")),
    "isin": lambda: torch.isin(cuda(2), cpu(2)),
    "searchsorted": lambda: torch.searchsorted(cuda(2), cpu(2)),
    "cholesky_solve": lambda: torch.cholesky_solve(cpu(2, 1), cuda(2, 2)),
    "equal": lambda: torch.equal(cuda(2), cpu(2)),
    "a CPU tensor at CUDA places": lambda: cpu(2)[torch.tensor(TWO, device="cuda")],
    "a CPU tensor under a CUDA mask": lambda: cpu(2)[cuda(2) > 0],
    "into a CPU tensor at CUDA places": lambda: set_item(cpu(2), cuda(2) > 0, 1.0),
    "CPU values at places of CUDA": lambda: set_item(cuda(2), torch.tensor(TWO), cpu(2)),
    "CUDA values at listed places": lambda: set_item(cpu(2), TWO, cuda(2)),
    "numpy": lambda: cuda(2).numpy(),
    "numpy of a view": lambda: cuda(2, 2).T[0].detach().numpy(),
    "asarray": lambda: np.asarray(cuda(2)),
    "generator": lambda: torch.rand(2, device="cuda", generator=torch.Generator()),
    "multinomial": lambda: torch.multinomial(cuda(2), 1, generator=torch.Generator()),
    "gradient": lambda: setattr(cuda(2).requires_grad_(), "grad", cpu(2)),
    "a copy by torch.tensor": lambda: torch.tensor(cuda(2)) + cpu(2),
    "like a CUDA tensor": lambda: torch.empty_like(cuda(2)).fill_(0) + cpu(2),
    "new from a CUDA tensor": lambda: cuda(2).new_zeros(2) + cpu(2),
}
ALLOWED: dict[str, tuple[Callable[[], torch.Tensor], torch.device]] = {
    "a CPU scalar among CUDA operands": (lambda: cuda(2) * cpu(), CUDA),
    "two scalars": (lambda: cpu() + cuda(), CUDA),
    "a CPU scalar to choose from": (lambda: torch.where(cuda(2) > 0, cuda(2), cpu()), CUDA),
    "a number": (lambda: cuda(2) + 1, CUDA),
    "copy from the CPU": (lambda: cuda(2).copy_(cpu(2)), CUDA),
    "copy to the CPU": (lambda: cpu(2).copy_(cuda(2)), CPU),
    "slice from the CPU": (lambda: set_item(cuda(2), slice(0, 2), cpu(2)), CUDA),
    "CPU scalar at places": (lambda: set_item(cuda(2), torch.tensor(TWO), cpu()), CUDA),
    "CPU places": (lambda: cuda(2)[torch.tensor(TWO)], CUDA),
    "one place from CUDA": (lambda: cpu(2)[torch.tensor(1, device="cuda")], CPU),
    "down": (lambda: cuda(2).cpu() + cpu(2), CPU),
    "up": (lambda: cpu(2).to("cuda", torch.float64) + cuda(2), CUDA),
    "to another's": (lambda: cpu(2).to(cuda(2)) + cuda(2), CUDA),
    "other type, same device": (lambda: cuda(2).double(), CUDA),
    "like one, elsewhere": (lambda: torch.zeros_like(cuda(2), device="cpu") + cpu(2), CPU),
    "shape of another": (lambda: cpu().expand_as(cuda(2)) + cpu(2), CPU),
    "a copy by torch.tensor": (lambda: torch.tensor(cuda(2)) + cuda(2), CUDA),
    "data of numpy": (lambda: torch.as_tensor(np.ones(2), device="cuda") + cuda(2), CUDA),
    "gradient": (lambda: torch.autograd.grad((x := cuda(2).requires_grad_()).sum(), x)[0], CUDA),
}


@pytest.mark.filterwarnings("ignore:To copy construct")
@pytest.mark.parametrize("case", REFUSED)
def test_what_cuda_refuses(case):
    with VirtualCuda(), pytest.raises(MixedDevices):
        REFUSED[case]()


@pytest.mark.filterwarnings("ignore:To copy construct")
@pytest.mark.parametrize("case", ALLOWED)
def test_what_cuda_allows(case):
    run, device = ALLOWED[case]
    with VirtualCuda():
        result = run()
        assert result.device == device
        assert (result.is_cuda, result.is_cpu) == (device == CUDA, device == CPU)


def test_what_was_moved_shares_no_memory():
    with VirtualCuda():
        here = cpu(2)
        there = here.to("cuda")
        there.add_(1)
        back = there.cpu()
        back.add_(1)
        array = np.ones(2)
        torch.as_tensor(array, device="cuda").add_(1)
        assert there.to("cuda") is there
        assert (here.tolist(), there.tolist(), back.tolist()) == ([1, 1], [2, 2], [3, 3])
        assert array.tolist() == [1, 1]


def test_a_gradient_is_where_its_tensor_is():
    with VirtualCuda():
        x = cuda(2).requires_grad_()
        (2 * x).sum().backward()
        assert x.grad.device == CUDA


def test_a_wait_for_the_device_is_counted():
    with VirtualCuda() as device:
        table = cuda(2)
        table[torch.tensor(TWO, device="cuda")], table[0], table[TWO]
        assert device.waits == 0
        table[torch.tensor(TWO)]
        assert device.waits == 1


def test_autocast_is_of_the_device_that_it_names():
    with VirtualCuda():
        for named, dtype in (("cuda", torch.bfloat16), ("cpu", torch.float32)):
            with torch.autocast(named, torch.bfloat16):
                assert torch.is_autocast_enabled("cuda") == (named == "cuda")
                assert (cuda(2, 2) @ cuda(2, 2)).dtype == dtype


def test_nothing_is_left_behind():
    before = (torch.autocast, torch.is_autocast_enabled, torch.cuda.get_rng_state)
    with pytest.raises(ZeroDivisionError), VirtualCuda():
        kept = cuda(2)
        raise ZeroDivisionError
    assert (torch.autocast, torch.is_autocast_enabled, torch.cuda.get_rng_state) == before
    assert kept.device == CPU and (kept + cpu(2)).tolist() == [2, 2]


# The engine


@pytest.fixture(autouse=True)
def alike_on_both(monkeypatch):
    """What is compared is where tensors are, not who multiplies them or in which groups."""
    monkeypatch.setattr("modeledit.lm.products._HERE", False)
    monkeypatch.setitem(RUN_TOKENS, "cuda", RUN_TOKENS["cpu"])


@pytest.fixture
def devices(monkeypatch):
    """Jobs take the device that they are told to, and measure no GPU."""
    monkeypatch.setattr("modeledit.editing.job.prepare_device", lambda name, *rest: name)

    class NoMeter:
        def __init__(self, device: str):
            pass

        def record(self) -> None:
            return None

    monkeypatch.setattr("modeledit.editing.job.Meter", NoMeter)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("kind", MODELS)
def test_every_method_keeps_to_the_device_and_computes_the_same_there(study, kind, preset):
    work = study(kind, preset=preset)
    with VirtualCuda() as device:
        factors = work.factors()
        found = {name: work.edit(name, factors) for name in ALL_METHODS}
        assert device.waits == 0
    assert found["MEMIT"][0]["steps"].nunique() > 1
    for name in ("ROME", "NAP_MEMIT", "NA_PMET"):
        edits, written = work.edit(name, factors, "cpu")
        pd.testing.assert_frame_equal(edits, found[name][0])
        for layer, matrix in written.items():
            np.testing.assert_allclose(found[name][1][layer], matrix, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", SAME_SHAPE)
def test_models_of_the_same_shape(study, kind):
    work = study(kind)
    with VirtualCuda() as device:
        factors = work.factors()
        found = {name: work.edit(name, factors)[0] for name in ("ROME", "NA_MEMIT", "NAP_PMET")}
        assert device.waits == 0
    pd.testing.assert_frame_equal(found["NAP_PMET"], work.edit("NAP_PMET", factors, "cpu")[0])


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("kind", MODELS | SAME_SHAPE)
def test_what_only_runs_forward(study, kind, preset):
    work = study(kind, preset=preset)
    with VirtualCuda() as device:
        scores, verdicts, contexts = work.score(), work.judge(), work.generate()
        factors, said, drifted = work.factors(), work.speak(), work.drift()
        assert device.waits == 0
    assert said == work.speak("cpu")
    assert [asdict(one) for one in drifted] == [
        pytest.approx(asdict(one)) for one in work.drift("cpu")
    ]
    assert scores == work.score("cpu")
    pd.testing.assert_frame_equal(verdicts, work.judge("cpu"))
    assert contexts == work.generate("cpu")
    for layer, factor in work.factors("cpu").items():
        np.testing.assert_array_equal(factors[layer], factor)


@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_precisions(study, precision):
    """Reduced precision reaches CUDA: numbers are those of the CPU in the same one."""
    work = study("llama")
    exact = work.edit("MEMIT", factors := work.factors("cpu"), "cpu")[0]
    with VirtualCuda():
        found = work.edit("MEMIT", factors, precision=precision)[0]
    pd.testing.assert_frame_equal(found, work.edit("MEMIT", factors, "cpu", precision)[0])
    changed = np.abs(found["loss"] / exact["loss"] - 1).max()
    assert changed > 1e-5 if precision == "bf16" else changed == 0


@pytest.mark.parametrize("method", ["NA_PMET", "ROME"])
def test_whole_iterations_with_their_files(study, devices, method):
    """The second starts from the edited matrices on disk."""
    work = study("gpt2")
    with VirtualCuda():
        states = work.chain(method)
    expected = work.chain(method, "cpu")
    assert [state["k"] for state in states] == [1, 2]
    for state, other in zip(states, expected, strict=True):
        assert state["differences"] == pytest.approx(other["differences"], rel=1e-4)


# Torch's deterministic mode

NO_FORM: dict[str, Callable[[], object]] = {
    "cumsum": lambda: cuda(2).cumsum(0),
    "bincount": lambda: torch.bincount(torch.tensor(TWO, device="cuda"), weights=cuda(2)),
    "median": lambda: cuda(2, 2).median(dim=0),
    "put_": lambda: cuda(2).put_(torch.tensor(TWO, device="cuda"), cuda(2)),
    "loss": lambda: torch.nn.functional.cross_entropy(cuda(2, 2), cuda(2).long()),
}


@pytest.mark.parametrize("case", NO_FORM)
def test_what_cuda_cannot_do_deterministically(deterministic, case):
    with VirtualCuda():
        with pytest.raises(NotDeterministic):
            NO_FORM[case]()
        torch.ones(2).cumsum(0), cuda(2).long().cumsum(0)  # on the CPU, and of whole numbers
        torch.use_deterministic_algorithms(False)
        NO_FORM[case]()


@pytest.mark.parametrize("kind", MODELS)
def test_the_engine_has_a_deterministic_form(study, deterministic, kind):
    """No operation without one on CUDA; and one CPU thread gives the same bits either way."""
    work = study(kind)
    with VirtualCuda():
        factors = work.factors()
        for name in NAMES:
            work.edit("NAP_" + name, factors)
        work.score(), work.judge(), work.generate(), work.speak(), work.drift()
    edits, written = work.edit("NAP_PMET", factors, "cpu")
    torch.use_deterministic_algorithms(False)
    others, before = work.edit("NAP_PMET", factors, "cpu")
    pd.testing.assert_frame_equal(edits, others, check_exact=True)
    assert all((written[layer] == before[layer]).all() for layer in written)


# Slips in the engine itself

ENGINE = (
    modeledit.editing.job,
    modeledit.editing.covariance,
    modeledit.editing.covariance_error,
    modeledit.editing.covariance_files,
    modeledit.editing.factors,
    modeledit.lm.model,
    modeledit.lm.contexts,
    modeledit.lm.drift,
    modeledit.lm.generation,
    modeledit.editing.rome,
    modeledit.lm.trees,
    modeledit.editing.spread,
    modeledit.editing.writes,
    modeledit.editing.null_space,
    modeledit.editing.optimization,
)
SLIPS = [slip for module in ENGINE for slip in slips_of(module)]


# A request that begins with its subject, of one token: nothing comes before what is edited.
AT_THE_START = Request(9, "The", "{} is a city in", "Japan", "France", (), ())
# What each module's tensors are used by; the others' by edits and scores.
USED_BY: dict[str, Callable[[Study], object]] = {
    "modeledit.editing.writes": lambda work: write_beside_earlier_keys(work),
    "modeledit.editing.null_space": lambda work: write_beside_earlier_keys(work),
    "modeledit.editing.job": lambda work: work.chain("ROME"),
    "modeledit.editing.covariance": Study.factors,
    "modeledit.editing.covariance_error": Study.factors,
    "modeledit.editing.covariance_files": Study.factors,
    "modeledit.editing.factors": Study.factors,
    "modeledit.lm.model": lambda work: work.chain("ROME"),
    "modeledit.lm.contexts": Study.generate,
    "modeledit.lm.drift": Study.drift,
    "modeledit.lm.generation": Study.speak,
}
LEGAL = {
    "factors.factors_of: torch.from_numpy(matrix).to(device)": (
        "the factorisation runs on the CPU then, slow and right"
    ),
    "model.load_model: cast(nn.Module, model).to(device)": (
        "everything is on the CPU then, slow and right"
    ),
    "contexts.generate_contexts: torch.tensor([encode(tokenizer, word)], device=model.device)": (
        "transformers moves the tokens, and draws on the CPU"
    ),
    "trees.label_outputs: part.cpu()": "tolist() moves them too, one wait each",
    "optimization._optimize_chunk: losses.nll.double().exp().cpu()": "tolist() moves it too",
    "optimization._optimize_chunk: (factor * losses.nll_all).double().exp().cpu()": (
        "tolist() moves it too"
    ),
}


def write_beside_earlier_keys(work: Study) -> None:
    """AlphaEdit's write and MEMIT_seq's, of keys on the device, beside others from disk."""
    keys = torch.eye(128, 3, dtype=torch.float64).to(CUDA)
    residual, earlier = torch.ones(32, 3, dtype=torch.float64).to(CUDA), {1: torch.eye(4, 128)}
    moment = torch.diag(torch.arange(1.0, 129))
    for rank in (40, 100):
        null = null_space(moment, Cut(kind="rank", value=rank))
        for write in (
            NullSpaceWrite({1: null}, 2.0, earlier),
            CovarianceWrite({1: np.eye(128)}, 2.0, earlier, keeps_keys=True),
        ):
            update, kept = write(1, keys, residual)
            assert update.device == kept.device == CUDA and update.shape == (32, 128)


def edit_and_score(work: Study) -> None:
    """Everything but statistics and files."""
    factors = dict.fromkeys(HYPER.layers, np.eye(128))
    replace(work, requests=[AT_THE_START], contexts=["{}"]).edit("MEMIT", factors)
    for method in ("NAP_PMET", "ROME"):
        work.edit(method, factors)
    work.score()
    # Two labels in front of the subject's last token, and a second round from what the first found.
    row = Row((5, 6, 7, 8), labels=(6, 7, 8, 9), subject=2)
    problems = [Problem((row, row), Row((5, 6, 7), subject=2))]
    settings = settings_of("MEMIT", HYPER, work.switches).targets
    found = optimize(work.load(), problems, settings)
    optimize(work.load(), problems, settings, start=found.deltas)


@pytest.mark.parametrize("slip", SLIPS, ids=str)
def test_a_slip_in_the_engine_is_noticed(study, devices, slip):
    """It is refused, or the wait that it costs is counted."""
    run = USED_BY.get(slip.module.__name__, edit_and_score)
    with VirtualCuda() as device, planted(slip):
        if str(slip) in LEGAL:
            run(study("gpt2"))
            return
        try:
            run(study("gpt2"))
        except MixedDevices:
            return
        assert device.waits > 0


def test_what_is_legal_is_there():
    assert len(SLIPS) > 35
    assert LEGAL.keys() <= {str(slip) for slip in SLIPS}


def test_a_model_is_loaded_where_it_is_asked_for(study):
    with VirtualCuda():
        model = load_model(study("gpt2").folder / "model", "cuda")[0]
        assert {tensor.device for tensor in model.model.state_dict().values()} == {CUDA}
        assert model.device == CUDA


def test_bf16_on_the_wrong_device_changes_nothing(study, monkeypatch):
    """The slip that no operation refuses: autocast for another device than the model's."""
    work, factors = study("llama"), dict.fromkeys(HYPER.layers, np.eye(64))
    exact = work.edit("MEMIT", factors, "cpu")[0]
    monkeypatch.setattr(
        "modeledit.editing.optimization.matrix_precision",
        lambda name, device: matrix_precision(name, "cpu"),
    )
    with VirtualCuda():
        found = work.edit("MEMIT", factors, precision="bf16")[0]
    pd.testing.assert_frame_equal(found, exact)
