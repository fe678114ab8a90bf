"""What the benchmarks share: the work to do, clocks, counted operations, tables and plots.

Importing this module makes `modeledit` and the plain loop of `tests/` importable, which no
installation carries; import it first.
"""

import argparse
import csv
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import matplotlib.style
import torch
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from modeledit.data.geography import build_requests
from modeledit.data.readers import read_counterfact
from modeledit.data.requests import Request
from modeledit.data.trials import split_trials
from modeledit.editing.iteration import EditSettings, Statistics
from modeledit.editing.optimization import Targets, TargetSettings, optimize, perplexities
from modeledit.editing.problem import Problem, build_problem
from modeledit.editing.rome import edit_in_turn
from modeledit.editing.spread import spread
from modeledit.editing.writes import Write
from modeledit.io.files import finished
from modeledit.io.provenance import processor
from modeledit.lm.contexts import generate_contexts
from modeledit.lm.device import matrix_precision, prepare_device
from modeledit.lm.meter import joules
from modeledit.lm.model import EditableModel, load_model
from modeledit.lm.products import fits, product
from modeledit.lm.scoring import score
from modeledit.lm.tokens import Row, subject_row
from modeledit.presentation.figures.style import STYLE
from modeledit.study.config import described_model, preset_switches
from modeledit.study.hyperparameters import Hyperparameters
from modeledit.study.methods import METHODS, NAMES, Method
from modeledit.study.models import Model
from tests.reference import plain

ROOT = Path(__file__).resolve().parents[1]
Result = TypeVar("Result")


# --------------------------------------------------------------------------------------------------
# Work


@dataclass(frozen=True)
class Work:
    """One iteration of a method, as both sides are given it.

    `covariance` is the identity for every layer, which is its own Cholesky factor: what SPREAD
    costs does not depend on the numbers in it, so no text is needed.
    """

    model: EditableModel
    tokenizer: object
    requests: Sequence[Request]
    contexts: Sequence[str]
    covariance: torch.Tensor
    how: EditSettings

    @property
    def method(self) -> Method:
        return self.how.method

    @property
    def hyper(self) -> Hyperparameters:
        return self.how.hyper

    @property
    def token_budget(self) -> int:
        return self.how.token_budget

    @property
    def precision(self) -> str:
        return self.how.precision

    def changed(self, **settings: object) -> "Work":
        """The same with other settings: hyper, precision, token_budget."""
        return replace(self, how=replace(self.how, **settings))

    def in_steps(self, steps: int) -> "Work":
        """The same with another number of steps."""
        return self.changed(hyper=replace(self.hyper, steps=steps))

    @property
    def in_turn(self) -> bool:
        """Whether each request is written before the next is optimised (ROME)."""
        return self.method.write == "rank_one"

    @property
    def neighbor_contexts(self) -> list[str]:
        return self.how.neighbor_contexts(self.contexts)

    @property
    def settings(self) -> TargetSettings:
        return self.how.targets

    @property
    def covariances(self) -> dict[int, torch.Tensor]:
        return dict.fromkeys(self.hyper.layers, self.covariance)

    @property
    def write(self) -> Write:
        """How SPREAD writes a layer."""
        return self.how.write(Statistics(self.contexts, self.covariances))

    @property
    def rome_covariance(self) -> torch.Tensor | None:
        return self.covariance if self.how.switches.rome_covariance else None

    def problems(self) -> list[Problem]:
        tokenization = self.how.tokenization(self.model)
        return [
            build_problem(
                self.tokenizer,
                request,
                self.contexts,
                self.neighbor_contexts,
                self.method.n_neighbors,
                tokenization,
            )
            for request in self.requests
        ]

    def key_rows(self) -> list[list[Row]]:
        return [
            [subject_row(self.tokenizer, c, r.prompt, r.subject) for c in self.contexts]
            for r in self.requests
        ]

    def optimize(self, problems: Sequence[Problem] | None = None) -> Targets:
        """The engine's OPTIMIZATION; with ROME the model is written as well."""
        problems = self.problems() if problems is None else problems
        if not self.in_turn:
            return optimize(self.model, problems, self.settings, self.token_budget)
        rows, factor = self.key_rows(), self.rome_covariance
        return edit_in_turn(self.model, problems, rows, self.settings, factor, self.token_budget)

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Leave the model as it was."""
        originals = {i: self.model.down_weight(i).clone() for i in self.hyper.layers}
        try:
            yield
        finally:
            for layer, weight in originals.items():
                self.model.write_down_weight(layer, weight)


def make_work(
    arguments: argparse.Namespace, name: str, requests: Sequence[Request], loaded: tuple
) -> Work:
    """Method `name` on `requests`, with the model that `load` gave and contexts of its own."""
    model, tokenizer, described = loaded
    method = METHODS[name]
    hyper = described.hyperparameters(method.algorithm)
    if arguments.steps:
        hyper = replace(hyper, steps=arguments.steps)
    contexts = generate_contexts(
        model.model, tokenizer, method.context_lengths, seed=arguments.seed
    )
    switches = preset_switches("corrected", ROOT)
    return Work(
        model,
        tokenizer,
        requests,
        contexts,
        torch.eye(model.down_weight(0).shape[1], dtype=torch.float64),
        EditSettings(method, hyper, switches, "float32", arguments.token_budget),
    )


def draw_requests(
    count: int, seed: int, editing: int = 1, counterfact: Path | None = None
) -> list[Request]:
    """Geographic requests, or evenly spread ones of a file of CounterFact.

    The first `editing` neighbors join the edit, the others are scored.
    """
    if counterfact:
        read = read_counterfact(counterfact)
        drawn = [read[i] for i in pick(len(read), count)]
    else:
        (drawn,) = split_trials(build_requests(seed), 1, count, seed)
    return [
        replace(r, neighbors=r.neighbors[editing:], editing_neighbors=r.neighbors[:editing])
        for r in drawn
    ]


# --------------------------------------------------------------------------------------------------
# The two sides


def run_engine(work: Work) -> tuple["Clock", Targets]:
    """One iteration and its scores, as the workflow computes them."""
    clock, model, budget = Clock(), work.model, work.token_budget
    with clock.stage("optimization"):
        problems = work.problems()
        targets = work.optimize(problems)
    if not work.in_turn:
        with clock.stage("spread"):
            how = work.how.spread
            spread(model, work.key_rows(), targets.state, work.write, how, budget)
    with clock.stage("p-hat"):
        perplexities(model, problems, work.settings, budget)
    with clock.stage("scoring"):
        score(model, work.tokenizer, work.requests, work.how.switches, token_budget=budget)
    return clock, targets


def run_plain(work: Work) -> tuple["Clock", list[plain.Optimized]]:
    """The same with the plain loop, on layers that multiply as torch has them do."""
    with torchs_own_products(work.model.model):
        return _run_plain(work)


def _run_plain(work: Work) -> tuple["Clock", list[plain.Optimized]]:
    clock, model, tokenizer, contexts = Clock(), work.model.model, work.tokenizer, work.contexts
    names = ("layers", "lr", "steps", "clamp", "weight_decay", "kl_factor", "covariance_weight")
    settings = plain.Settings(
        method=work.method.algorithm,
        nll_loss_factor=work.hyper.nll_factor,
        neighbor_weight=work.how.switches.neighbor_weight,
        neighbor_length=work.how.switches.neighbor_length,
        target_tokenization=work.how.switches.target_tokenization,
        **{name: value for name, value in vars(work.hyper).items() if name in names},
    )
    given = (model, tokenizer)
    with clock.stage("optimization"), matrix_precision(work.precision, model.device.type):
        if work.in_turn:
            found, _ = plain.rome_sequential(
                *given,
                work.requests,
                contexts,
                settings,
                work.rome_covariance,
                work.method.n_neighbors,
            )
        else:
            found = [
                plain.optimize(
                    *given,
                    r,
                    contexts,
                    settings,
                    r.editing_neighbors[: work.method.n_neighbors],
                    work.neighbor_contexts,
                )
                for r in work.requests
            ]
    if not work.in_turn:
        with clock.stage("spread"):
            targets = [f.target for f in found]
            plain.spread(*given, work.requests, targets, contexts, work.covariances, settings)
    with clock.stage("p-hat"):
        for r in work.requests:
            plain.p_hat(*given, r, contexts, settings)
    with clock.stage("scoring"):
        for r in work.requests:
            asked = [(prompt, r.target_true) for prompt in (r.text, *r.paraphrases)]
            asked += [(n.text, n.target) for n in r.neighbors]
            for prompt, true in asked:
                for target in (r.target_new, true):
                    plain.score(*given, prompt, target)
    return clock, found


@contextmanager
def torchs_own_products(model: torch.nn.Module) -> Iterator[None]:
    """Have the layers of `model` multiply as without the engine (`modeledit.lm.products`)."""
    engines = {
        module: module.__dict__.pop("forward")
        for module in model.modules()
        if "forward" in module.__dict__
    }
    try:
        yield
    finally:
        for module, forward in engines.items():
            module.forward = forward


def measure(side: Callable[[Work], tuple], work: Work) -> tuple:
    """What `side` gives for `work`, once warm; the model is left as it was."""
    warm_up = replace(work, requests=work.requests[:1]).in_steps(2)
    for part in (warm_up, work):
        with work.unchanged():
            outcome = side(part)
    say(f"{work.method.name}: {side.__name__}, {sum(outcome[0].seconds.values()):.1f} s")
    return outcome


def pick(count: int, wanted: int | None) -> list[int]:
    """`wanted` evenly spread ones of `count` indices; all of them without `wanted`."""
    wanted = min(count, wanted or count)
    return [i * count // wanted for i in range(wanted)]


def plain_seconds(
    clock: "Clock", work: Work, slow: Sequence[plain.Optimized], steps: Sequence[float]
) -> dict[str, float]:
    """Seconds that the plain loop takes for all requests, from those of a sample.

    OPTIMIZATION costs what its forward passes cost: its seconds are scaled by those of all
    requests (`steps`, the engine's) over those of the sample. SPREAD solves one system per layer
    however many requests there are: what the solving takes is measured and stays; the rest, p-hat
    and scoring are scaled by the number of requests. With all requests in the sample nothing is
    scaled.
    """
    share = len(steps) / len(slow)
    scaled = {stage: seconds * share for stage, seconds in clock.seconds.items()}
    scaled["optimization"] = (
        clock.seconds["optimization"] * sum(steps) / sum(found.steps for found in slow)
    )
    if "spread" in scaled and share > 1:
        matrix = work.covariance.to(work.model.device)
        once, _ = timed(partial(torch.linalg.solve, matrix, matrix[:, : len(slow)]))
        solving = min(once * len(work.hyper.layers), clock.seconds["spread"])
        scaled["spread"] = solving + (clock.seconds["spread"] - solving) * share
    return scaled


def relative_errors(found: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """Relative error of each target, (m,)."""
    found, expected = found.double().cpu(), expected.double().cpu()
    return (found - expected).norm(dim=1) / expected.norm(dim=1)


# --------------------------------------------------------------------------------------------------
# Clocks and counts


def synchronize() -> None:
    """Wait for what a GPU still computes."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


@dataclass
class Clock:
    """Seconds spent in each stage and, on a GPU, the most bytes allocated and joules used in it."""

    seconds: dict[str, float] = field(default_factory=dict)
    peak: dict[str, int] = field(default_factory=dict)
    joules: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        synchronize()
        gpu = torch.device("cuda") if torch.cuda.is_available() else None
        if gpu:
            torch.cuda.reset_peak_memory_stats()
        before = joules(gpu) if gpu else None
        start = time.perf_counter()
        yield
        synchronize()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
        if gpu:
            self.peak[name] = max(self.peak.get(name, 0), torch.cuda.max_memory_allocated())
        if before is not None:
            self.joules[name] = self.joules.get(name, 0.0) + joules(gpu) - before

    def wrap(self, name: str, function: Callable[..., Result]) -> Callable[..., Result]:
        """`function`, its calls counted as stage `name`."""

        def clocked(*arguments, **named) -> Result:
            with self.stage(name):
                return function(*arguments, **named)

        return clocked


def timed(function: Callable[[], Result], repeats: int = 1) -> tuple[float, Result]:
    """Least seconds of some calls, and what the last one gives."""
    seconds = []
    for _ in range(repeats):
        clock = Clock()
        with clock.stage("call"):
            result = function()
        seconds += clock.seconds.values()
    return min(seconds), result


def count_operations(function: Callable[[], object]) -> int:
    """Floating-point operations of all matrix products in a call (a multiply-add is two)."""

    def attention(query, key, value, *_, **__) -> int:
        return sdpa_flop_count(query, key, value)

    def attention_backward(gradient, query, key, value, *_, **__) -> int:
        return sdpa_backward_flop_count(gradient, query, key, value)

    def linear(x, weight, *_, **__) -> int:
        return 2 * math.prod(x) * weight[0]

    fused = torch.ops.aten  # the counter knows only what GPUs have for it
    mapping = {
        fused._scaled_dot_product_flash_attention_for_cpu: attention,
        fused._scaled_dot_product_flash_attention_for_cpu_backward: attention_backward,
        torch.ops.mkldnn._linear_pointwise: linear,
    }
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        function()
    return counter.get_total_flops()


def matmul_ceiling(model: EditableModel, precision: str = "float32", repeats: int = 10) -> float:
    """Most operations per second seen in plain products of the shapes of the model's MLP."""
    d, d_mlp = model.down_weight(0).shape
    half = precision == "bf16"
    dtype = torch.bfloat16 if half else torch.float32
    best = 0.0
    with matrix_precision("float32" if half else precision, model.device.type):
        for tokens in (256, 1024, 4096):
            for inner, outer in ((d, d_mlp), (d_mlp, d)):
                a = torch.randn(tokens, inner, dtype=dtype, device=model.device)
                b = torch.randn(inner, outer, dtype=dtype, device=model.device)
                products = [partial(torch.matmul, a, b)]
                if fits(a, b):
                    products.append(partial(product, a, b.T.contiguous()))
                for multiply in products:
                    seconds, _ = timed(multiply, repeats)
                    best = max(best, 2 * tokens * inner * outer / seconds)
    return best


def utilisation(operations: float, seconds: float, ceiling: float) -> dict[str, float]:
    """How much of the ceiling was reached, and the seconds that reaching all of it would take."""
    return {
        "gflop": round(operations / 1e9, 1),
        "gflop_per_s": round(operations / seconds / 1e9, 1),
        "ceiling_gflop_per_s": round(ceiling / 1e9, 1),
        "fraction_of_ceiling": round(operations / seconds / ceiling, 3),
        "floor_s": round(operations / ceiling, 3),
    }


def describe_machine(device: str, threads: int) -> dict[str, object]:
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else processor(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "threads": threads,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


# --------------------------------------------------------------------------------------------------
# Command line


def make_parser(description: str, budget: bool = True) -> argparse.ArgumentParser:
    """Options that every benchmark has; one with token budgets of its own is asked for none."""
    parser = argparse.ArgumentParser(
        description=description.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    default = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    add = parser.add_argument
    add("--threads", type=positive, default=2, help="CPU threads")
    if budget:
        most = default["compute"]["token_budget"]
        add("--token-budget", type=positive, default=most, help="tokens the engine runs at once")
    add("--seed", type=int, default=42, help="draws requests and contexts")
    add("--output", type=Path, default=Path("results/benchmarks"), help="folder of CSV and PNG")
    return parser


def add_counterfact(parser: argparse.ArgumentParser) -> None:
    """The option that has other requests than geographic ones."""
    words = "requests from CounterFact records in this file, else geographic ones"
    parser.add_argument("--counterfact", type=Path, help=words)


def add_model(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmarks that edit a prepared model."""
    folder = ROOT / "resources/models/smollm2-135m"
    add = parser.add_argument
    add("--model", type=Path, default=folder, help="model folder")
    add("--device", choices=("cpu", "cuda", "auto"), default="cpu", help="device")
    add("--steps", type=positive, help="forward passes at most; default: what the model's file has")


def method_name(text: str) -> str:
    if text not in METHODS:
        raise argparse.ArgumentTypeError(f"{text} is none of {NAMES}")
    return text


def joint_method_name(text: str) -> str:
    """A method that optimises all requests before it writes any."""
    if METHODS[method_name(text)].write != "spread":
        raise argparse.ArgumentTypeError(f"{text} edits one request after another")
    return text


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


def load(arguments: argparse.Namespace) -> tuple[EditableModel, object, Model]:
    """The model, its tokenizer and its hyperparameters; `arguments.device` becomes the real one."""
    path = ROOT / "config/models" / f"{arguments.model.resolve().name}.yaml"
    if not (arguments.model / "config.json").is_file():
        sys.exit(f"--model {arguments.model}: no model there; run the workflow once")
    if not path.is_file():
        sys.exit(f"--model {arguments.model}: no {path}")
    arguments.device = prepare_device(arguments.device, arguments.threads)
    model, tokenizer = load_model(arguments.model, arguments.device)
    return model, tokenizer, described_model(path.stem, ROOT)


# --------------------------------------------------------------------------------------------------
# Output


def say(text: str) -> None:
    """Progress, apart from the tables."""
    print(text, file=sys.stderr, flush=True)


def write_table(
    path: Path, rows: Sequence[Mapping[str, object]], same: Mapping[str, object]
) -> None:
    """Print `rows` and write them as CSV, there with the columns `same`, alike in every row."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, *([str(row.get(name, "")) for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(names))]
    for line in lines:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
    print(", ".join(f"{name} {value}" for name, value in same.items()))
    with finished(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [*names, *same])
        writer.writeheader()
        writer.writerows({**row, **same} for row in rows)
    print(f"written: {path}")


@contextmanager
def plot(path: Path, height: float = 2.2) -> Iterator[Axes]:
    """Axes of one panel in the style of the pipeline's figures, saved as PNG."""
    with matplotlib.style.context(STYLE):
        figure = Figure(figsize=(3.3, height))
        yield figure.subplots()
        with finished(path) as temporary:
            figure.savefig(temporary, format="png", metadata={"Software": None})
    print(f"written: {path}")


def bars(axes: Axes, values: Mapping[str, float], label: str) -> None:
    """Horizontal bars from top to bottom, each with its number; the line is at 1."""
    drawn = axes.barh(list(values), list(values.values()))
    axes.bar_label(drawn, fmt="%.2g", padding=2, fontsize=6)
    axes.axvline(1, color="black", linewidth=0.6, linestyle=":")
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(label)
