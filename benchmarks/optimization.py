"""How much faster the engine is than the plain loop, on the same work in the same process.

The plain loop of tests/reference optimises one request after another and runs the whole model for
every row and every step. Both sides edit the same geographic requests with the same model,
contexts and hyperparameters; the script fails when their targets or stop steps differ, so that a
ratio is never that of two different computations. See benchmarks/README.md.
"""

import argparse
import csv
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import yaml

# The plain loop lives in tests/, which no installation carries.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from modeledit.devices import prepare_device
from modeledit.files import finished
from modeledit.geography import build_requests
from modeledit.iteration import spread_settings, target_settings
from modeledit.methods import METHODS, Method
from modeledit.models import EditableModel, load_model
from modeledit.prompts import build_problem, generate_contexts, subject_row
from modeledit.requests import Request
from modeledit.scoring import score
from modeledit.spread import spread
from modeledit.targets import Targets, optimize, perplexities
from modeledit.trials import split_trials
from tests.reference import plain

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("MEMIT", "NA_MEMIT")
STAGES = ("optimization", "spread", "p-hat", "scoring")


@dataclass(frozen=True)
class Work:
    """What both sides are given."""

    model: EditableModel
    tokenizer: object
    requests: Sequence[Request]
    contexts: Sequence[str]
    covariances: Mapping[int, torch.Tensor]
    method: Method
    hyper: Mapping
    switches: Mapping
    token_budget: int

    @property
    def neighbors(self) -> int:
        """How many editing neighbors each request has in its loss."""
        return int(self.method.neighbor_assisted)


class Clock:
    """Seconds spent in each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start


def run_engine(work: Work) -> tuple[Clock, Targets]:
    """One iteration and its scores, as the workflow computes them."""
    clock, model, tokenizer = Clock(), work.model, work.tokenizer
    settings = target_settings(work.method, work.hyper, work.switches)
    with clock.stage("optimization"):
        problems = [
            build_problem(tokenizer, r, work.contexts, n_neighbors=work.neighbors)
            for r in work.requests
        ]
        targets = optimize(model, problems, settings, work.token_budget)
    with clock.stage("spread"):
        rows = [
            [subject_row(tokenizer, c, r.prompt, r.subject) for c in work.contexts]
            for r in work.requests
        ]
        shape = spread_settings(work.method, work.hyper)
        spread(model, rows, targets.state, work.covariances, shape, work.token_budget)
    with clock.stage("p-hat"):
        perplexities(model, problems, settings, work.token_budget)
    with clock.stage("scoring"):
        score(model, tokenizer, work.requests, token_budget=work.token_budget)
    return clock, targets


def run_plain(work: Work) -> tuple[Clock, list[plain.Optimized]]:
    """The same with the plain loop."""
    clock, model, tokenizer, contexts = Clock(), work.model.model, work.tokenizer, work.contexts
    names = ("layers", "lr", "steps", "clamp", "weight_decay", "kl_factor", "covariance_weight")
    settings = plain.Settings(
        method=work.method.algorithm,
        neighbor_weight=work.switches["neighbor_weight"],
        neighbor_length=work.switches["neighbor_length"],
        target_tokenization=work.switches["target_tokenization"],
        **{name: work.hyper[name] for name in names},
    )
    with clock.stage("optimization"):
        found = [
            plain.optimize(
                model, tokenizer, r, contexts, settings, r.editing_neighbors[: work.neighbors]
            )
            for r in work.requests
        ]
    with clock.stage("spread"):
        targets = [f.target for f in found]
        plain.spread(model, tokenizer, work.requests, targets, contexts, work.covariances, settings)
    with clock.stage("p-hat"):
        for r in work.requests:
            plain.p_hat(model, tokenizer, r, contexts, settings)
    with clock.stage("scoring"):
        for r in work.requests:
            asked = [(prompt, r.target_true) for prompt in (r.text, *r.paraphrases)]
            asked += [(n.text, n.target) for n in r.neighbors]
            for prompt, true in asked:
                for target in (r.target_new, true):
                    plain.score(model, tokenizer, prompt, target)
    return clock, found


def measure(side: Callable[[Work], tuple], work: Work) -> tuple:
    """What `side` gives for `work`, once warm; the model is left as it was."""
    model = work.model
    originals = {layer: model.down_weight(layer).clone() for layer in work.hyper["layers"]}
    warm_up = replace(work, requests=work.requests[:1], hyper={**work.hyper, "steps": 2})
    for part in (warm_up, work):
        outcome = side(part)
        for layer, weight in originals.items():
            model.write_down_weight(layer, weight)
    seconds = sum(outcome[0].seconds.values())
    print(f"{work.method.name}: {side.__name__}, {seconds:.1f} s", file=sys.stderr, flush=True)
    return outcome


def difference(fast: Targets, slow: Sequence[plain.Optimized]) -> tuple[float, list[int]]:
    """Greatest relative error of a target, and which requests stopped elsewhere."""
    error = max(
        float((state - s.target).norm() / s.target.norm())
        for state, s in zip(fast.state, slow, strict=True)
    )
    stops = zip(fast.numbers["steps"], fast.stop_reason, strict=True)
    other = [
        i
        for i, (stop, s) in enumerate(zip(stops, slow, strict=True))
        if stop != (s.steps, s.stop_reason)
    ]
    return error, other


def draw_requests(count: int, seed: int) -> list[Request]:
    """Geographic requests; the first neighbor of each joins the edit, the others are scored."""
    (drawn,) = split_trials(build_requests(seed), 1, count, seed)
    return [replace(r, neighbors=r.neighbors[1:], editing_neighbors=r.neighbors[:1]) for r in drawn]


def describe_machine(threads: int) -> dict[str, object]:
    return {
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "threads": threads,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def table_of(timings: Mapping[str, tuple[Clock, Clock]], count: int) -> list[dict[str, object]]:
    """One row per method and stage, and one for all stages together; `timings` are (plain, engine).

    `ratio` is how many times as long the plain loop takes.
    """
    rows = []
    for name, clocks in timings.items():
        for stage in (*STAGES, "whole"):
            slow, fast = (
                sum(clock.seconds.values()) if stage == "whole" else clock.seconds[stage]
                for clock in clocks
            )
            rows.append(
                {
                    "method": name,
                    "stage": stage,
                    "requests": count,
                    "plain_s_per_request": round(slow / count, 4),
                    "engine_s_per_request": round(fast / count, 4),
                    "ratio": round(slow / fast, 2),
                }
            )
    return rows


def print_table(rows: Sequence[Mapping[str, object]]) -> None:
    for line in (list(rows[0]), *(row.values() for row in rows)):
        method, stage, *numbers = line
        print(f"{method:<9} {stage:<13}" + "".join(f"{number!s:>21}" for number in numbers))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--model", type=Path, default=ROOT / "resources/models/smollm2-135m", help="model folder")
    add("--requests", type=int, default=8, help="how many requests to edit at once")
    add("--threads", type=int, default=2, help="CPU threads of both sides")
    add("--token-budget", type=int, default=1024, help="padded tokens the engine runs at once")
    add("--seed", type=int, default=42, help="draws requests and contexts")
    add("--tolerance", type=float, default=1e-3, help="greatest relative error of a target")
    add("--output", type=Path, default=Path("results/benchmarks/optimization.csv"), help="CSV")
    arguments = parser.parse_args()
    if arguments.requests < 1 or arguments.threads < 1:
        parser.error("--requests and --threads must be at least 1")
    if not (arguments.model / "config.json").is_file():
        parser.error(f"--model {arguments.model}: no model there; run the workflow once")
    if not description_of(arguments.model).is_file():
        parser.error(f"--model {arguments.model}: no {description_of(arguments.model)}")
    return arguments


def description_of(model: Path) -> Path:
    return ROOT / "config" / "models" / f"{model.resolve().name}.yaml"


def read_yaml(path: Path) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def main() -> int:
    arguments = parse_arguments()
    prepare_device("cpu", arguments.threads)
    algorithms = read_yaml(description_of(arguments.model))["algorithms"]
    switches = read_yaml(ROOT / "config" / "presets.yaml")["corrected"]
    model, tokenizer = load_model(arguments.model)
    contexts = generate_contexts(model.model, tokenizer, seed=arguments.seed)
    requests = draw_requests(arguments.requests, arguments.seed)

    timings, failures = {}, []
    for name in NAMES:
        method = METHODS[name]
        hyper = algorithms[method.algorithm]
        # What SPREAD costs does not depend on the numbers in C, so no text is needed.
        identity = torch.eye(model.down_weight(0).shape[1], dtype=torch.float64)
        work = Work(
            model,
            tokenizer,
            requests,
            contexts,
            dict.fromkeys(hyper["layers"], identity),
            method,
            hyper,
            switches,
            arguments.token_budget,
        )
        fast_clock, fast = measure(run_engine, work)
        slow_clock, slow = measure(run_plain, work)
        timings[name] = slow_clock, fast_clock
        error, elsewhere = difference(fast, slow)
        print(f"{name}: greatest relative error of a target {error:.1e}; ", end="")
        print(f"steps {', '.join(str(s.steps) for s in slow)}")
        if not error <= arguments.tolerance:
            failures.append(f"{name}: targets differ by {error:.1e} > {arguments.tolerance:.1e}")
        if elsewhere:
            numbers = [requests[i].id for i in elsewhere]
            failures.append(f"{name}: requests {numbers} stop elsewhere or for another reason")

    rows = table_of(timings, len(requests))
    print_table(rows)
    machine = describe_machine(arguments.threads)
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    extra = {"model": arguments.model.resolve().name, **machine}
    with finished(arguments.output) as path, path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [*rows[0], *extra])
        writer.writeheader()
        writer.writerows(row | extra for row in rows)
    print(f"written: {arguments.output}")
    for failure in failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
