"""How the engine's seconds grow with what it is given, stage by stage.

Sections: spread (the update by requests and width), requests and length (OPTIMIZATION), covariance,
scoring, rome (where its seconds go), precision (of the matrix products), scale (every stage and
its memory for up to 10,000 requests on a tiny model) and crossing (SPREAD's two ways to solve).
Each writes a table and a plot of its own. See docs/benchmarks.md.
"""

import argparse
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import common
import numpy as np
import torch
from common import Clock, Work

from modeledit.data.geography import build_requests
from modeledit.data.requests import Request
from modeledit.editing import rome
from modeledit.editing.covariance import second_moments
from modeledit.editing.factors import factorize
from modeledit.editing.iteration import EditSettings
from modeledit.editing.least_squares import (
    fewer_among_requests,
    least_squares_update,
    update_among_key_rows,
    update_among_requests,
)
from modeledit.editing.optimization import perplexities
from modeledit.editing.spread import KeyRows, spread
from modeledit.lm.model import EditableModel
from modeledit.lm.scoring import score
from modeledit.study.config import preset_switches
from modeledit.study.methods import METHODS
from tests.reference import models as tiny

FILLER = "The weather was fair that day and nobody had much to do. "
Rows = list[dict[str, object]]


class Bench:
    """The model with what its sections need, loaded when first asked for."""

    def __init__(self, arguments: argparse.Namespace):
        self.arguments = arguments
        self.loaded: tuple | None = None

    def work(self, name: str, count: int) -> Work:
        if self.loaded is None:
            self.loaded = common.load(self.arguments)
        editing = max(1, METHODS[name].n_neighbors)
        requests = common.draw_requests(count, self.arguments.seed, editing)
        return common.make_work(self.arguments, name, requests, self.loaded)


def warm(work: Work) -> None:
    """Run the smallest OPTIMIZATION once."""
    one = replace(work, requests=work.requests[:1]).in_steps(2)
    with work.unchanged():
        one.optimize()


def spread_section(bench: Bench) -> Rows:
    """`least_squares_update` by requests and width, beside the factorisation that is reused."""
    arguments, rows = bench.arguments, []
    random = torch.Generator().manual_seed(arguments.seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    for d_mlp in (*arguments.widths, *((6400,) if arguments.large else ())):
        lower = (draw(d_mlp, d_mlp) / d_mlp).tril_() + torch.eye(d_mlp, dtype=torch.float64)
        once, factor = common.timed(partial(factorize, lower @ lower.T, 0), arguments.repeats)
        for m in arguments.counts:
            keys, residual = draw(d_mlp, m), draw(d_mlp // 4, m)
            update = partial(least_squares_update, factor.lower, keys, residual, 15000.0)
            seconds, _ = common.timed(update, arguments.repeats)
            rows.append(
                {
                    "d_mlp": d_mlp,
                    "requests": m,
                    "update_s": round(seconds, 5),
                    "factorize_s": round(once, 5),
                }
            )
    return rows


def requests_section(bench: Bench) -> Rows:
    """OPTIMIZATION by the number of requests."""
    most = bench.arguments.max_requests
    counts = sorted({round(most / 2**i) for i in range(3) if most / 2**i >= 1})
    work, rows = bench.work(bench.arguments.method, most), []
    warm(work)
    for count in counts:
        seconds, found = common.timed(replace(work, requests=work.requests[:count]).optimize)
        steps = sum(found.numbers["steps"])
        rows.append(
            {
                "requests": count,
                "seconds": round(seconds, 3),
                "s_per_request": round(seconds / count, 4),
                "steps": int(steps),
                "ms_per_step": round(1000 * seconds / steps, 2),
            }
        )
    return rows


def length_section(bench: Bench) -> Rows:
    """OPTIMIZATION by the length of the prompts: sentences in front of them."""
    work, rows = bench.work(bench.arguments.method, min(8, bench.arguments.max_requests)), []
    warm(work)
    for fillers in bench.arguments.fillers:
        longer = [replace(r, prompt=fillers * FILLER + r.prompt) for r in work.requests]
        changed = replace(work, requests=longer)
        lengths = [len(problem.edit_rows[0].ids) for problem in changed.problems()]
        seconds, found = common.timed(changed.optimize)
        steps = sum(found.numbers["steps"])
        rows.append(
            {
                "fillers": fillers,
                "tokens": round(float(np.mean(lengths)), 1),
                "requests": len(longer),
                "seconds": round(seconds, 3),
                "steps": int(steps),
                "ms_per_step": round(1000 * seconds / steps, 2),
            }
        )
    return rows


def covariance_section(bench: Bench) -> Rows:
    """Tokens per second of `second_moments` by the length of the texts."""
    work, rows = bench.work(bench.arguments.method, 1), []
    for length in bench.arguments.lengths:
        texts = [FILLER * length] * 2
        gather = partial(
            second_moments, work.model, work.tokenizer, texts, work.hyper.layers, length
        )
        seconds, (_, tokens) = common.timed(gather, bench.arguments.repeats)
        rows.append(
            {
                "text_tokens": length,
                "tokens": tokens,
                "seconds": round(seconds, 3),
                "tokens_per_s": round(tokens / seconds, 1),
            }
        )
    return rows


def scoring_section(bench: Bench) -> Rows:
    """Prompts with an object scored per second, by token budget."""
    work, rows = bench.work(bench.arguments.method, min(8, bench.arguments.max_requests)), []
    for budget in bench.arguments.budgets:
        scored = (work.model, work.tokenizer, work.requests, work.how.switches)
        run = partial(score, *scored, token_budget=budget)
        seconds, table = common.timed(run, bench.arguments.repeats)
        rows.append(
            {
                "token_budget": budget,
                "requests": len(work.requests),
                "prompts": table.num_rows,
                "seconds": round(seconds, 3),
                "prompts_per_s": round(table.num_rows / seconds, 1),
            }
        )
    return rows


def rome_section(bench: Bench) -> Rows:
    """ROME's seconds per request: shared lower blocks, OPTIMIZATION, and the write (the rest)."""
    work, clock = bench.work("ROME", min(8, bench.arguments.max_requests)), Clock()
    warm(work)
    problems = work.problems()
    run = partial(
        rome.edit_in_turn,
        work.model,
        problems,
        work.key_rows(),
        work.settings,
        work.rome_covariance,
        work.token_budget,
    )
    with (
        work.unchanged(),
        patch.object(rome, "Below", clock.wrap("lower blocks", rome.Below)),
        patch.object(rome, "KeyRows", clock.wrap("lower blocks", rome.KeyRows)),
        patch.object(KeyRows, "keys", clock.wrap("lower blocks", KeyRows.keys)),
        patch.object(rome, "optimize", clock.wrap("optimization", rome.optimize)),
    ):
        seconds, _ = common.timed(run)
    parts = {**clock.seconds, "write": seconds - sum(clock.seconds.values()), "whole": seconds}
    return [
        {
            "part": part,
            "requests": len(problems),
            "s_per_request": round(value / len(problems), 5),
            "share": round(value / seconds, 4),
        }
        for part, value in parts.items()
    ]


def precision_section(bench: Bench) -> Rows:
    """What the precision of the matrix products changes: targets and seconds."""
    work, rows = bench.work(bench.arguments.method, min(8, bench.arguments.max_requests)), []
    warm(work)
    for precision in ("float32", "tf32", "bf16"):
        seconds, found = common.timed(work.changed(precision=precision).optimize)
        if not rows:
            exact = found
        errors = common.relative_errors(found.state, exact.state)
        rows.append(
            {
                "precision": precision,
                "requests": len(work.requests),
                "seconds": round(seconds, 3),
                "steps": int(sum(found.numbers["steps"])),
                "mean_error": f"{float(errors.mean()):.2e}",
                "max_error": f"{float(errors.max()):.2e}",
            }
        )
    return rows


def crossing_section(bench: Bench) -> Rows:
    """CPU-seconds of SPREAD's two ways to solve around the number of requests where they cross."""
    random, rows = torch.Generator().manual_seed(bench.arguments.seed), []
    d, d_mlp = bench.arguments.crossing

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    root = draw(d_mlp, 4 * d_mlp)
    factor = torch.linalg.cholesky(root @ root.T / (4 * d_mlp))
    crossing = next(m for m in range(1, d_mlp) if not fewer_among_requests(d, m, d_mlp))
    around = {d_mlp // 3, d_mlp // 2, crossing - 1, crossing, 2 * d_mlp // 3}
    for m in sorted(around | {d_mlp - 1, d_mlp, d_mlp * 4 // 3}):
        given = factor, draw(d_mlp, m), draw(d, m), 15000.0
        seconds, found = {}, {}
        for way in (update_among_requests, update_among_key_rows):
            each = []
            for _ in range(max(2, bench.arguments.repeats)):
                begun = time.process_time()
                found[way] = way(*given)
                each.append(time.process_time() - begun)
            seconds[way] = round(min(each), 4)
        one, other = found.values()
        few = fewer_among_requests(d, m, d_mlp)
        rows.append(
            {
                "d_mlp": d_mlp,
                "requests": m,
                "among_requests_cpu_s": seconds[update_among_requests],
                "among_key_rows_cpu_s": seconds[update_among_key_rows],
                "chosen": "among_requests" if few else "among_key_rows",
                "difference": f"{float((one - other).norm() / other.norm()):.1e}",
            }
        )
    return rows


def draw_crossing(axes, rows: Rows) -> None:
    for way in ("among_requests", "among_key_rows"):
        seconds = [row[f"{way}_cpu_s"] for row in rows]
        axes.plot([row["requests"] for row in rows], seconds, marker="o", label=way)
    axes.set(xlabel="requests", ylabel="CPU-seconds of an update", ylim=(0, None))
    axes.legend()


@contextmanager
def used(columns: dict[str, object], stage: str, requests: int) -> Iterator[None]:
    """Add what a stage takes per request to `columns`: milliseconds, and those of all CPUs."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    columns[f"{stage}_ms"] = round(1000 * (time.perf_counter() - wall) / requests, 2)
    columns[f"{stage}_cpu_ms"] = round(1000 * (time.process_time() - cpu) / requests, 2)


def peak_mb() -> float:
    """Most memory that this process has had, in MB.

    On Linux `getrusage` would count what the process that started this one has had, too.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # macOS counts bytes


def many_requests(count: int, seed: int) -> list[Request]:
    """Geographic requests; each round after the first is about other subjects."""
    known = build_requests(seed)
    found = []
    for i in range(count):
        request, again = known[i % len(known)], i // len(known)
        subject = f"{request.subject} {again}" if again else request.subject
        found.append(
            replace(
                request,
                id=i,
                subject=subject,
                paraphrases=[p.replace(request.subject, subject) for p in request.paraphrases],
                neighbors=request.neighbors[1:],
                editing_neighbors=request.neighbors[:1],
            )
        )
    return found


def tiny_work(arguments: argparse.Namespace, requests: int) -> Work:
    """`--method` on a tiny random Llama, wide enough for trees of many rows."""
    model = EditableModel(
        tiny.tiny_llama(layers=4, hidden_size=128, intermediate_size=256, num_attention_heads=4)
    )
    width = model.down_weight(0).shape[1]
    switches = preset_switches("corrected", common.ROOT)
    steps = arguments.steps or tiny.HYPER.steps
    return Work(
        model,
        tiny.tiny_tokenizer(),
        many_requests(requests, arguments.seed),
        tiny.tiny_contexts(),
        torch.eye(width, dtype=torch.float64),
        EditSettings(
            METHODS[arguments.method],
            replace(tiny.HYPER, steps=steps),
            switches,
            "float32",
            arguments.token_budget,
        ),
    )


def one_scale(arguments: argparse.Namespace, requests: int) -> dict[str, object]:
    """One iteration of so many requests, to be run in a process of its own."""
    torch.set_num_threads(arguments.threads)
    work = tiny_work(arguments, requests)
    warm(work)
    before = peak_mb()
    model, budget = work.model, work.token_budget
    row: dict[str, object] = {"requests": requests}
    with used(row, "problems", requests):
        problems, key_rows = work.problems(), work.key_rows()
    with used(row, "optimization", requests):
        targets = work.optimize(problems)
    after_optimization = peak_mb()
    with used(row, "spread", requests):
        spread(model, key_rows, targets.state, work.write, work.how.spread, budget)
    after_spread = peak_mb()
    with used(row, "p_hat", requests):
        perplexities(model, problems, work.settings, budget)
    with used(row, "scoring", requests):
        score(model, work.tokenizer, work.requests, work.how.switches, token_budget=budget)
    row["before_mb"] = round(before)
    row["optimization_mb"] = round(after_optimization)
    row["spread_mb"] = round(after_spread)
    row["peak_mb"] = round(peak_mb())
    row["kb_per_request"] = round(1000 * (peak_mb() - before) / requests, 1)
    return row


def scale_section(bench: Bench) -> Rows:
    """Milliseconds per request and peak memory by requests, each count in a process of its own."""
    rows = []
    for requests in bench.arguments.many:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rows.append(pool.apply(one_scale, (bench.arguments, requests)))
        common.say(f"{requests} requests: {rows[-1]}")
    return rows


def draw_scale(axes, rows: Rows) -> None:
    counts = [row["requests"] for row in rows]
    for stage in ("problems", "optimization", "spread", "p_hat", "scoring"):
        axes.plot(counts, [row[f"{stage}_ms"] for row in rows], marker="o", label=stage)
    axes.set(xscale="log", yscale="log", xlabel="requests", ylabel="milliseconds per request")
    axes.legend(ncols=2)


def draw_spread(axes, rows: Rows) -> None:
    for i, d_mlp in enumerate(dict.fromkeys(row["d_mlp"] for row in rows)):
        chosen = [row for row in rows if row["d_mlp"] == d_mlp]
        counts = [row["requests"] for row in chosen]
        times = [row["update_s"] for row in chosen]
        axes.plot(counts, times, color=f"C{i}", marker="o", label=f"{d_mlp}")
        axes.axhline(chosen[0]["factorize_s"], color=f"C{i}", linestyle=":")
    axes.set(xscale="log", yscale="log", xlabel="requests", ylabel="seconds of an update")
    axes.legend(title="MLP width (dotted: factorisation)", title_fontsize=6, ncols=4)


def line(x: str, y: str) -> Callable:
    """Draws column `y` against column `x`."""

    def draw(axes, rows: Rows) -> None:
        axes.plot([row[x] for row in rows], [row[y] for row in rows], marker="o", clip_on=False)
        axes.set(xlabel=x.replace("_", " "), ylabel=y.replace("_", " "), ylim=(0, None))

    return draw


def bars(name: str, value: str) -> Callable:
    """Draws column `value`, one bar for each `name`."""

    def draw(axes, rows: Rows) -> None:
        axes.bar([row[name] for row in rows], [row[value] for row in rows])
        axes.set_ylabel(value.replace("_", " "))

    return draw


SECTIONS: Mapping[str, tuple[Callable[[Bench], Rows], Callable]] = {
    "spread": (spread_section, draw_spread),
    "requests": (requests_section, line("requests", "seconds")),
    "length": (length_section, line("tokens", "ms_per_step")),
    "covariance": (covariance_section, line("text_tokens", "tokens_per_s")),
    "scoring": (scoring_section, line("token_budget", "prompts_per_s")),
    "rome": (rome_section, bars("part", "s_per_request")),
    "precision": (precision_section, bars("precision", "seconds")),
    "scale": (scale_section, draw_scale),
    "crossing": (crossing_section, draw_crossing),
}
EXTRA = ("precision", "scale", "crossing")  # sections that are asked for by name


def parse_arguments() -> argparse.Namespace:
    parser = common.make_parser(__doc__)
    common.add_model(parser)
    add, number = parser.add_argument, common.positive
    add("--only", nargs="+", choices=SECTIONS, help="sections; default: all but the last three")
    add("--precision", action="store_true", help="run the section precision as well")
    add("--method", type=common.joint_method_name, default="MEMIT", help="what is optimised")
    add("--max-requests", type=number, default=40, help="requests at most")
    add("--fillers", type=int, nargs="+", default=(0, 1, 2, 4, 8), help="sentences in front")
    add("--lengths", type=number, nargs="+", default=(64, 256, 1024), help="tokens of a text")
    add("--budgets", type=number, nargs="+", default=(64, 256, 1024, 4096), help="for scoring")
    add("--counts", type=number, nargs="+", default=(10, 100, 300, 1000), help="for SPREAD")
    add("--widths", type=number, nargs="+", default=(512, 1536, 3072), help="for SPREAD")
    add("--many", type=number, nargs="+", default=(10, 100, 1000, 10_000), help="for scale")
    width = (576, 1536)  # SmolLM2-135M's
    add("--crossing", type=number, nargs=2, default=width, help="d and d_mlp, for crossing")
    add("--large", action="store_true", help="width 6400 (GPT-2 XL) as well, for SPREAD")
    add(
        "--repeats",
        type=number,
        default=2,
        help="of SPREAD, covariance, scoring: the fastest counts",
    )
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    bench = Bench(arguments)
    chosen = arguments.only or [name for name in SECTIONS if name not in EXTRA]
    if arguments.precision and "precision" not in chosen:
        chosen.append("precision")
    for name in chosen:
        measure, draw = SECTIONS[name]
        print(f"\n{name}: {measure.__doc__}")
        rows = measure(bench)
        on_model = bench.loaded is not None and name != "spread"
        machine = common.describe_machine(
            bench.loaded[0].device.type if on_model else "cpu", arguments.threads
        )
        same = {"model": arguments.model.resolve().name if on_model else "", **machine}
        common.write_table(arguments.output / f"scaling_{name}.csv", rows, same)
        with common.plot(arguments.output / f"scaling_{name}.png") as axes:
            draw(axes, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
