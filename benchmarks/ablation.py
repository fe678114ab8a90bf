"""What each technique of the engine's OPTIMIZATION is worth: switched off in turn, and batch sizes.

Every variant finds the targets of the same requests; the script fails when one finds others than
the engine as it is. See docs/benchmarks.md.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import fields, replace
from functools import partial
from itertools import compress
from types import SimpleNamespace
from unittest.mock import patch

import common
import torch
from common import Work

from modeledit.editing import optimization as targets
from modeledit.study.methods import METHODS

BUDGETS = (64, 256, 1024, 4096)


def one_request_at_a_time(_: Work) -> AbstractContextManager:
    """Every chunk is one request; what its own rows share is still computed once."""

    def singly(widths: Sequence[int], *_: object) -> Iterator[list[int]]:
        return ([i] for i in range(len(widths)))

    return patch.object(targets, "pack", singly)


def no_shared_beginnings(_: Work) -> AbstractContextManager:
    """Every row is a tree of its own."""

    def apart(rows: Sequence, _budget: int) -> Iterator[list[int]]:
        return ([i] for i in range(len(rows)))

    return patch.object(targets, "tree_groups", apart)


@contextmanager
def nothing_kept(_: Work) -> Iterator[None]:
    """The lower blocks, and the tokens before the subjects, run anew at every step.

    Only their work is added: the steps go on with what was kept, so results cannot change. No
    gradient runs through them, as it would without the split.
    """
    run_fixed, prepare, forward = targets._run_fixed_parts, targets._prepare, targets._forward
    current = SimpleNamespace()  # what the chunk at hand was made from

    def remember_rows(model, rows, *others):
        current.rows, current.others, current.first = rows, others, True
        return run_fixed(model, rows, *others)

    def remember_owners(*arguments):
        chunk = prepare(*arguments)
        current.owner = chunk.owner
        return chunk

    def forward_after_all(model, chunk, *others):
        if not current.first:
            left = torch.isin(current.owner, chunk.owner).tolist()
            with torch.no_grad():
                run_fixed(model, list(compress(current.rows, left)), *current.others)
        current.first = False
        return forward(model, chunk, *others)

    with (
        patch.object(targets, "_run_fixed_parts", remember_rows),
        patch.object(targets, "_prepare", remember_owners),
        patch.object(targets, "_forward", forward_after_all),
    ):
        yield


@contextmanager
def head_everywhere(_: Work) -> Iterator[None]:
    """The head runs on every position of every row, once per step."""
    last: list[torch.Tensor] = []

    def everywhere(model, hidden, rows, positions):
        if not last or last[0] is not hidden:
            last[:] = hidden, model.log_probabilities(hidden)
        return last[1][rows, positions]

    with patch.object(targets, "_log_probabilities_at", everywhere):
        yield


@contextmanager
def stopped_requests_stay(_: Work) -> Iterator[None]:
    """The rows of stopped requests stay in the batch, with a delta of zero."""
    forward = targets._forward

    def stay(chunk, requests):
        chunk.active = requests
        return chunk

    def forward_with_all(model, chunk, deltas, init_norms, factor, settings):
        active = getattr(chunk, "active", None)
        if active is None:
            return forward(model, chunk, deltas, init_norms, factor, settings)
        count = int(chunk.owner.max()) + 1

        def spread_out(values: torch.Tensor, rest: float) -> torch.Tensor:
            whole = values.new_full((count, *values.shape[1:]), rest)
            return whole.index_copy(0, active, values)

        losses = forward(
            model,
            chunk,
            {site: spread_out(delta, 0.0) for site, delta in deltas.items()},
            {site: spread_out(norm, 1.0) for site, norm in init_norms.items()},
            spread_out(factor, 1.0),
            settings,
        )
        return replace(losses, **{f.name: getattr(losses, f.name)[active] for f in fields(losses)})

    with (
        patch.object(targets._Chunk, "select", stay),
        patch.object(targets, "_forward", forward_with_all),
    ):
        yield


def torchs_own_products(work: Work) -> AbstractContextManager:
    """Layers multiply as torch has them do: on a CPU by MKL."""
    return common.torchs_own_products(work.model.model)


def joined_attention(work: Work) -> AbstractContextManager:
    """Attention by transformers, to the prefix and the rest joined anew at every step."""
    usual = replace(work.model.architecture, own_attention=True)
    return patch.object(work.model, "architecture", usual)


VARIANTS: dict[str, Callable[[Work], AbstractContextManager]] = {
    "all on": nullcontext,
    "torch's own products": torchs_own_products,
    "attention to all joined": joined_attention,
    "one request at a time": one_request_at_a_time,
    "no shared beginnings": no_shared_beginnings,
    "nothing kept between steps": nothing_kept,
    "head on every position": head_everywhere,
    "stopped requests stay": stopped_requests_stay,
}


def parse_arguments() -> argparse.Namespace:
    parser = common.make_parser(__doc__)
    common.add_model(parser)
    add = parser.add_argument
    add("--method", type=common.joint_method_name, default="MEMIT", help="any but ROME")
    add("--requests", type=common.positive, default=24, help="how many requests to optimise")
    add("--budgets", type=common.positive, nargs="*", default=BUDGETS, help="token budgets to try")
    add("--repeats", type=common.positive, default=1, help="the fastest of so many runs counts")
    add("--tolerance", type=float, default=1e-3, help="greatest relative error of a target")
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    loaded = common.load(arguments)
    editing = max(1, METHODS[arguments.method].n_neighbors)
    requests = common.draw_requests(arguments.requests, arguments.seed, editing)
    work = common.make_work(arguments, arguments.method, requests, loaded)
    problems = work.problems()
    work.in_steps(2).optimize(problems[:1])  # warm-up

    runs = [(name, variant, work) for name, variant in VARIANTS.items()]
    runs += [
        (f"token budget {budget}", nullcontext, work.changed(token_budget=budget))
        for budget in arguments.budgets
        if budget != work.token_budget
    ]
    rows, failures = [], []
    for name, variant, changed in runs:
        with variant(changed):
            run = partial(changed.optimize, problems)
            seconds, found = common.timed(run, arguments.repeats)
        common.say(f"{name}: {seconds:.1f} s")
        if not rows:
            first_seconds, first = seconds, found
        error = float(common.relative_errors(found.state, first.state).max())
        if not error <= arguments.tolerance:
            failures.append(f"{name}: targets differ by {error:.1e} > {arguments.tolerance:.1e}")
        if found.numbers["steps"] != first.numbers["steps"]:
            failures.append(f"{name}: requests stop at other steps")
        rows.append(
            {
                "variant": name,
                "method": arguments.method,
                "requests": len(requests),
                "token_budget": changed.token_budget,
                "steps": int(sum(found.numbers["steps"])),
                "seconds": round(seconds, 3),
                "relative_to_all_on": round(seconds / first_seconds, 3),
                "target_error": f"{error:.1e}",
            }
        )
    machine = common.describe_machine(arguments.device, arguments.threads)
    same = {"model": arguments.model.resolve().name, **machine}
    common.write_table(arguments.output / "ablation.csv", rows, same)
    relative = {row["variant"]: row["relative_to_all_on"] for row in rows}
    with common.plot(arguments.output / "ablation.png", height=2.4) as axes:
        common.bars(axes, relative, "seconds relative to all on")
    for failure in failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
