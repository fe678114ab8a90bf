"""What a GPU does with the paper's models: seconds, memory and energy at true shapes.

Nothing is downloaded: the shapes come from config/models/, the weights from a random generator on
the device, the token ids from a tokenizer at hand, folded into the vocabulary. Random weights
seldom meet the stop rule, so that nearly all steps are made: the worst case. What SPREAD costs does
not depend on the numbers in the covariance, which is the identity. Every measurement is written as
soon as it is made, and not made again: a run that was stopped goes on. See docs/benchmarks.md.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import common
import torch
from common import Clock, Work
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPTJConfig,
    LlamaConfig,
    PretrainedConfig,
)

from modeledit.data.requests import Request
from modeledit.editing.covariance import KeySums
from modeledit.editing.factors import factorize
from modeledit.editing.iteration import EditSettings
from modeledit.editing.optimization import Targets
from modeledit.io.files import file_digest, read_json, write_json
from modeledit.lm.model import EditableModel
from modeledit.lm.tokenizer import load_tokenizer
from modeledit.study.config import described_model, preset_switches
from modeledit.study.memory import editing
from modeledit.study.methods import METHODS
from modeledit.study.models import Model
from tests.reference.models import tiny_contexts, tiny_tokenizer

# What config/models/ does not say: heads, and those of keys and values.
HEADS = {
    "gpt2-xl": (25, 25),
    "gpt-j-6b": (16, 16),
    "llama-2-7b": (32, 32),
    "llama-3-8b": (32, 8),
}
PRECISIONS = ("float32", "tf32", "bf16")
TINY = {"depth": 6, "width": 64, "mlp_width": 256, "vocabulary": 512}
TINY_LAYERS = (1, 2, 3)
SAMPLE = 4  # requests whose operations are counted
ARTICLE = 730  # tokens: the mean of the English Wikipedia (modeledit/planning/costs.py)
FILLER = "The weather was fair that day and nobody had much to do. "
GIB = 2**30
TOKEN_BUDGET = 2048
OTHER_BUDGETS = (512, 8192)


@dataclass(frozen=True)
class Task:
    """One measurement: a method in a precision, or "covariance" or "ceiling".

    A method is measured with one token budget, and OPTIMIZATION alone with others.
    """

    model: str
    what: str
    precision: str = "float32"
    token_budget: int = TOKEN_BUDGET

    def __str__(self) -> str:
        return f"{self.model} {self.what} {self.precision} {self.token_budget}"


@dataclass
class Study:
    """What is measured and where it is written; models are built when a measurement needs one."""

    arguments: argparse.Namespace
    requests: Sequence[Request]
    described: dict[str, Model] = field(default_factory=dict)
    held: tuple[str, EditableModel] | None = None

    @property
    def device(self) -> str:
        return self.arguments.device

    def shape(self, name: str) -> Model:
        """The described model, small with `--scale tiny`."""
        model = described_model(name, common.ROOT)
        return replace(model, **TINY) if self.arguments.scale == "tiny" else model

    def model(self, name: str) -> EditableModel:
        """A model of this shape with random weights; one is held at a time."""
        if self.held is None or self.held[0] != name:
            self.held = None
            if self.device == "cuda":
                torch.cuda.empty_cache()
            torch.manual_seed(self.arguments.seed)
            heads = (4, 2) if self.arguments.scale == "tiny" else HEADS[name]
            with torch.device(self.device):
                config = config_of(self.shape(name), *heads)
                built = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
            self.held = name, EditableModel(built)
        return self.held[1]

    def tokenizer(self, name: str) -> "Folded":
        folder = self.arguments.tokenizer
        found = load_tokenizer(folder) if folder else tiny_tokenizer()
        return Folded(found, self.shape(name).vocabulary)

    def work(self, task: Task) -> Work:
        """The work of a task whose `what` is a method."""
        arguments, method = self.arguments, METHODS[task.what]
        hyper = described_model(task.model, common.ROOT).hyperparameters(method.algorithm)
        if arguments.scale == "tiny":
            hyper = replace(hyper, layers=TINY_LAYERS if method.write == "spread" else (2,))
        if arguments.steps:
            hyper = replace(hyper, steps=arguments.steps)
        count = arguments.requests if method.write == "spread" else arguments.in_turn
        if task.token_budget > TOKEN_BUDGET:  # enough to fill it
            count = min(len(self.requests), count * task.token_budget // TOKEN_BUDGET)
        chosen = [self.requests[i] for i in common.pick(len(self.requests), count)]
        n = max(1, method.n_neighbors)
        requests = [
            replace(r, neighbors=r.neighbors[n:], editing_neighbors=r.neighbors[:n]) for r in chosen
        ]
        model = self.model(task.model)
        width = model.down_weight(0).shape[1]
        switches = preset_switches("corrected", common.ROOT)
        return Work(
            model,
            self.tokenizer(task.model),
            requests,
            tiny_contexts(),
            torch.eye(width, dtype=torch.float64, device=self.device),
            EditSettings(method, hyper, switches, task.precision, task.token_budget),
        )


class Folded:
    """A tokenizer whose ids are folded into a vocabulary of `size`; texts keep their lengths."""

    def __init__(self, tokenizer, size: int):
        self.tokenizer = tokenizer
        self.size = size
        self.pad_token_id = self.eos_token_id = tokenizer.eos_token_id % size

    def __getattr__(self, name: str) -> object:
        return getattr(self.tokenizer, name)

    def encode(self, text: str) -> list[int]:
        return self(text)["input_ids"]

    def __call__(self, text: str, **options) -> dict[str, list]:
        said = dict(self.tokenizer(text, **options))
        return said | {"input_ids": [i % self.size for i in said["input_ids"]]}


def config_of(model: Model, heads: int, key_heads: int) -> PretrainedConfig:
    """The transformers configuration of a model of this shape."""
    marks = {"vocab_size": model.vocabulary, "bos_token_id": 0, "eos_token_id": 0}
    if model.family == "llama":
        return LlamaConfig(
            hidden_size=model.width,
            intermediate_size=model.mlp_width,
            num_hidden_layers=model.depth,
            num_attention_heads=heads,
            num_key_value_heads=key_heads,
            tie_word_embeddings=model.tied,
            **marks,
        )
    sizes = {
        "n_embd": model.width,
        "n_inner": model.mlp_width,
        "n_layer": model.depth,
        "n_head": heads,
        **marks,
    }
    if model.family == "gptj":
        rotary = min(64, model.width // heads)
        return GPTJConfig(rotary_dim=rotary, tie_word_embeddings=False, **sizes)
    return GPT2Config(**sizes)


def tasks_of(arguments: argparse.Namespace) -> Iterator[Task]:
    """All measurements: of every model what matters most, then of every model the rest."""
    first, *others = arguments.methods
    for name in arguments.models:
        for precision in arguments.precision:
            yield Task(name, "ceiling", precision)
            yield Task(name, first, precision)
        yield Task(name, "covariance")
    for name in arguments.models:
        for method in others:
            yield Task(name, method, arguments.other_precision)
        for budget in OTHER_BUDGETS:
            yield Task(name, first, arguments.precision[-1], budget)


# --------------------------------------------------------------------------------------------------
# Measurements


def measure(study: Study, task: Task) -> dict[str, object]:
    if task.what == "ceiling":
        return measure_ceiling(study, task)
    if task.what == "covariance":
        return measure_covariance(study, task)
    return measure_edit(study, task)


def measure_ceiling(study: Study, task: Task) -> dict[str, object]:
    """Fastest plain products of the model's shapes, and copies on the device."""
    model = study.model(task.model)
    ceiling = common.matmul_ceiling(model, task.precision)
    size = 2**24 if study.device == "cpu" else 2**31
    source = torch.empty(size, dtype=torch.uint8, device=study.device)
    seconds, _ = common.timed(source.clone, 5)
    return {"tflop_per_s": ceiling / 1e12, "gb_per_s": 2 * size / seconds / 1e9}


def measure_edit(study: Study, task: Task) -> dict[str, object]:
    """Seconds, peak memory and joules of one iteration and its scores, stage by stage.

    In reduced precision of OPTIMIZATION alone, as nothing else is computed in it; its targets are
    set against the engine's own in float32, and those against the plain loop's.
    """
    work = study.work(task)
    count, reduced = len(work.requests), task.precision != "float32"
    clock, found = common.measure(run_optimization if reduced else common.run_engine, work)
    steps = [int(number) for number in found.numbers["steps"]]
    estimate = editing(study.shape(task.model), work.token_budget, count, len(work.contexts))
    row: dict[str, object] = {
        "requests": count,
        "steps": sum(steps),
        "seconds": clock.seconds,
        "peak_gib": {stage: size / GIB for stage, size in clock.peak.items()},
        "estimated_gib": estimate.device / GIB,
        "joules": clock.joules,
        "operations": operations_of(work, steps),
        "stopped": {name: found.stop_reason.count(name) for name in set(found.stop_reason)},
    }
    chosen = common.pick(count, study.arguments.plain_requests)
    sample = replace(work, requests=[work.requests[i] for i in chosen])
    if not reduced:
        slow_clock, slow = common.measure(common.run_plain, sample)
        row["plain_requests"] = len(chosen)
        row["plain_seconds"] = common.plain_seconds(slow_clock, work, slow, steps)
        expected, other_steps = torch.stack([r.target for r in slow]), [r.steps for r in slow]
    elif not work.in_turn:
        exact = common.measure(run_optimization, sample.changed(precision="float32"))[1]
        expected, other_steps = exact.state, exact.numbers["steps"]
    if not work.in_turn:  # there every request starts from what others have written
        row["target_error"] = float(common.relative_errors(found.state[chosen], expected).max())
        row["same_steps"] = [int(n) for n in other_steps] == [steps[i] for i in chosen]
    return row


def run_optimization(work: Work) -> tuple[Clock, Targets]:
    """OPTIMIZATION alone."""
    clock = Clock()
    with clock.stage("optimization"):
        targets = work.optimize(work.problems())
    return clock, targets


def operations_of(work: Work, steps: Sequence[int]) -> float:
    """Operations of OPTIMIZATION for all requests, from those of a few with one and two steps.

    One step is what is computed once and a forward pass; every further one adds a forward and a
    backward pass.
    """
    few = [work.requests[i] for i in common.pick(len(work.requests), SAMPLE)]
    with work.unchanged():
        once, twice = (
            common.count_operations(replace(work, requests=few).in_steps(number).optimize)
            / len(few)
            for number in (1, 2)
        )
    return once * len(steps) + (twice - once) * (sum(steps) - len(steps))


def measure_covariance(study: Study, task: Task) -> dict[str, object]:
    """Tokens a second of the second moments of a model's layers, and seconds of a factor."""
    model, arguments = study.model(task.model), study.arguments
    described = described_model(task.model, common.ROOT)
    layers = list(described.hyperparameters("MEMIT").layers)
    if arguments.scale == "tiny":
        layers = list(TINY_LAYERS)
    tokenizer = study.tokenizer(task.model)
    length = min(ARTICLE, model.limit.tokens if model.limit else ARTICLE)
    text = FILLER * length
    sums = KeySums(layers)

    def gather(texts: int) -> None:
        for _ in sums.add_texts(model, tokenizer, [text] * texts, length):
            pass

    gather(1)
    seconds, _ = common.timed(partial(gather, arguments.articles))
    sums = None
    width = model.down_weight(0).shape[1]
    random = torch.rand(width, width, dtype=torch.float64, device=study.device)
    matrix = random @ random.T / width + torch.eye(width, dtype=torch.float64, device=study.device)
    del random
    factor, _ = common.timed(partial(factorize, matrix, layers[0]))
    return {
        "layers": len(layers),
        "tokens": arguments.articles * length,
        "seconds": seconds,
        "factor_seconds": factor,
        "d_mlp": width,
    }


# --------------------------------------------------------------------------------------------------
# Results


@dataclass
class Results:
    """The file of measurements: what they were made with, and one entry for each task."""

    path: Path
    made_with: dict[str, object]
    entries: dict[str, dict]

    @classmethod
    def of(cls, path: Path, made_with: dict[str, object]) -> "Results":
        """Those in `path` go on where they were made with the same; else this says what differs."""
        if not path.exists():
            return cls(path, made_with, {})
        found = read_json(path)
        if found["made_with"] != made_with:
            other = [
                name for name, value in made_with.items() if found["made_with"].get(name) != value
            ]
            sys.exit(
                f"{path}: made with another {', '.join(other)}; move it away, or name another file "
                "with --results"
            )
        return cls(path, made_with, found["entries"])

    def add(self, task: Task, entry: dict[str, object]) -> None:
        self.entries[str(task)] = {**asdict(task), **entry}
        write_json(self.path, {"made_with": self.made_with, "entries": self.entries})


def run(study: Study, results: Results, tasks: Sequence[Task], limit: float) -> list[str]:
    """Make those of `tasks` that have no entry, until `limit` seconds are over; what is missing.

    One that fails, a model too large for the GPU above all, holds up no other.
    """
    end, missing = time.monotonic() + limit, []
    for number, task in enumerate(tasks):
        if str(task) in results.entries:
            continue
        if time.monotonic() > end:
            missing.append(f"{task}: not measured yet; the same command goes on")
            continue
        common.say(f"{number + 1} of {len(tasks)}: {task}")
        try:
            results.add(task, measure(study, task))
        except (RuntimeError, ArithmeticError) as error:
            missing.append(f"{task}: {type(error).__name__}: {error}")
    return missing


def parse_arguments() -> argparse.Namespace:
    parser = common.make_parser(__doc__, budget=False)
    add, number = parser.add_argument, common.positive
    folder = common.ROOT / "resources/models/smollm2-135m"
    add("--models", nargs="+", choices=tuple(HEADS), default=list(HEADS), help="shapes")
    add("--scale", choices=("true", "tiny"), default="true", help="tiny: small models on a CPU")
    methods = ["MEMIT", "PMET", "NA_MEMIT", "ROME"]
    add("--methods", nargs="+", type=common.method_name, default=methods, help="the first in all")
    add("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    add("--other-precision", choices=PRECISIONS, default="tf32", help="of the other methods")
    add("--requests", type=number, default=128, help="how many to edit at once")
    add("--in-turn", type=number, default=8, help="how many ROME edits")
    add("--plain-requests", type=number, default=2, help="how many the plain loop does")
    add("--steps", type=number, help="forward passes; default: what the model's file has")
    add("--articles", type=number, default=20, help="articles for the covariance")
    common.add_counterfact(parser)
    add("--tokenizer", type=Path, default=folder if folder.is_dir() else None, help="its folder")
    add("--seconds", type=number, default=600, help="no measurement begins after these")
    add("--results", type=Path, help="file of results; default: gpu.json in --output")
    arguments = parser.parse_args()
    arguments.device = "cpu" if arguments.scale == "tiny" else "cuda"
    if arguments.device == "cuda" and not torch.cuda.is_available():
        sys.exit("This benchmark needs a CUDA device; --scale tiny checks it on a CPU.")
    return arguments


def main() -> int:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    source = arguments.counterfact
    most = max(arguments.in_turn, arguments.requests * max(OTHER_BUDGETS) // TOKEN_BUDGET)
    requests = common.draw_requests(most, arguments.seed, 0, source)
    machine = common.describe_machine(arguments.device, arguments.threads)
    del machine["platform"]  # another kernel is no other GPU
    made_with = {
        **machine,
        "scale": arguments.scale,
        "requests": arguments.requests,
        "steps": arguments.steps,
        "facts": f"CounterFact {file_digest(source)[:12]}" if source else "geography",
        "tokenizer": arguments.tokenizer.name if arguments.tokenizer else "tiny",
        "seed": arguments.seed,
    }
    results = Results.of(arguments.results or arguments.output / "gpu.json", made_with)
    missing = run(Study(arguments, requests), results, list(tasks_of(arguments)), arguments.seconds)
    for line in missing:
        common.say(line)
    print(f"written: {results.path}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
