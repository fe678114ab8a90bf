"""How much faster the engine is than the plain loop, on the same work in the same process.

The plain loop of tests/reference optimises one request after another and runs the whole model for
every row and every step. Both sides edit the same geographic requests with the same model,
contexts and hyperparameters; the script fails when their targets or stop steps differ, so that a
ratio is never that of two different computations. See docs/benchmarks.md.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

import common
import numpy as np
import torch
from common import Work

from modeledit.editing.optimization import Targets
from modeledit.study.methods import METHODS
from tests.reference import plain

STAGES = ("optimization", "spread", "p-hat", "scoring", "whole")


def compare(
    work: Work, fast: Targets, slow: Sequence[plain.Optimized], chosen: Sequence[int], limit: float
) -> list[str]:
    """What differs between the engine's targets and the plain ones of the requests `chosen`."""
    name = work.method.name
    expected = torch.stack([found.target for found in slow])
    error = float(common.relative_errors(fast.state[chosen], expected).max())
    steps = [found.steps for found in slow]
    print(f"{name}: greatest relative error of a target {error:.1e}; ", end="")
    print(f"{min(steps)} to {max(steps)} steps, mean {np.mean(steps):.1f}")
    problems = [] if error <= limit else [f"{name}: targets differ by {error:.1e} > {limit:.1e}"]
    elsewhere = [
        work.requests[i].id
        for i, found in zip(chosen, slow, strict=True)
        if (fast.numbers["steps"][i], fast.stop_reason[i]) != (found.steps, found.stop_reason)
    ]
    if elsewhere:
        problems.append(f"{name}: requests {elsewhere} stop elsewhere or for another reason")
    return problems


def table_of(
    work: Work, slow: Mapping[str, float], fast: Mapping[str, float], sample: int
) -> list[dict[str, object]]:
    """One row per stage and one for all stages; `ratio` is how many times as long `slow` takes."""
    count, rows = len(work.requests), []
    for stage in STAGES:
        if stage != "whole" and stage not in fast:
            continue
        a, b = (sum(s.values()) if stage == "whole" else s[stage] for s in (slow, fast))
        rows.append(
            {
                "method": work.method.name,
                "stage": stage,
                "requests": count,
                "plain_requests": sample,
                "plain_s_per_request": round(a / count, 4),
                "engine_s_per_request": round(b / count, 4),
                "ratio": round(a / b, 2),
            }
        )
    return rows


def draw(rows: Sequence[Mapping], arguments: argparse.Namespace) -> None:
    """The ratio of every method, one group of bars per stage."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    stages = [stage for stage in STAGES if any(row["stage"] == stage for row in rows)]
    width = 0.8 / len(methods)
    with common.plot(arguments.output / "optimization.png") as axes:
        for i, method in enumerate(methods):
            ratios = {row["stage"]: row["ratio"] for row in rows if row["method"] == method}
            places = np.arange(len(stages)) + (i - (len(methods) - 1) / 2) * width
            heights = [ratios.get(stage, np.nan) for stage in stages]
            drawn = axes.bar(places, heights, width, label=method)
            axes.bar_label(drawn, fmt="%.1f", fontsize=4.5)
        axes.axhline(1, color="black", linewidth=0.6, linestyle=":")
        axes.set_xticks(range(len(stages)), stages)
        axes.set_ylabel("plain / engine seconds")
        axes.legend(ncols=len(methods), loc="lower center", bbox_to_anchor=(0.5, 1))


def parse_arguments() -> argparse.Namespace:
    parser = common.make_parser(__doc__)
    common.add_model(parser)
    common.add_counterfact(parser)
    add = parser.add_argument
    names = ("MEMIT", "PMET", "NA_MEMIT")
    add("--methods", nargs="+", type=common.method_name, default=names, help="what to measure")
    add("--requests", type=common.positive, default=48, help="how many requests to edit at once")
    add(
        "--plain-requests",
        type=common.positive,
        help="the plain loop does an evenly spread sample of so many; default: all",
    )
    add("--tolerance", type=float, default=1e-3, help="greatest relative error of a target")
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    loaded = common.load(arguments)
    editing = max(1, *(METHODS[name].n_neighbors for name in arguments.methods))
    given = arguments.counterfact
    requests = common.draw_requests(arguments.requests, arguments.seed, editing, given)
    ceiling = common.matmul_ceiling(loaded[0])
    rows, failures = [], []
    for name in arguments.methods:
        work = common.make_work(arguments, name, requests, loaded)
        chosen = common.pick(len(requests), arguments.plain_requests)
        sample = replace(work, requests=[requests[i] for i in chosen])
        if work.in_turn:  # a request starts from what the ones before it wrote: one sequence
            work, chosen = sample, list(range(len(chosen)))
        fast_clock, fast = common.measure(common.run_engine, work)
        slow_clock, slow = common.measure(common.run_plain, sample)
        failures += compare(work, fast, slow, chosen, arguments.tolerance)
        slow_seconds = common.plain_seconds(slow_clock, work, slow, fast.numbers["steps"])
        table = table_of(work, slow_seconds, fast_clock.seconds, len(sample.requests))
        with work.unchanged():
            operations = common.count_operations(work.optimize)
        table[0] |= common.utilisation(operations, fast_clock.seconds["optimization"], ceiling)
        rows += table

    if any(row["plain_requests"] < row["requests"] for row in rows):
        print(
            "The plain loop did plain_requests of the requests. Its seconds are scaled up: those of"
            " OPTIMIZATION by forward passes, the others by requests, SPREAD's solving left out."
        )
    machine = common.describe_machine(arguments.device, arguments.threads)
    same = {"model": arguments.model.resolve().name, **machine}
    common.write_table(arguments.output / "optimization.csv", rows, same)
    draw(rows, arguments)
    for failure in failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
