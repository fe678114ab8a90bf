"""AlphaEdit's update of one layer: among keys or directions, beside the release's dense solve.

The dense side does what the release does (SPEC K.3), in its float32 and in float64: a d_mlp x d_mlp
projector and sum of earlier K K^T, one LU solve. The engine is given the same null space by the
smaller of its bases, and earlier keys projected. Random numbers: what a solve costs does not depend
on them. See docs/benchmarks.md.
"""

import argparse
import sys
from functools import partial

import common
import torch

from modeledit.editing.null_space import NullSpace
from modeledit.editing.writes import NullSpaceWrite

NULL_SHARE = 0.7  # of the directions, as of Llama-3 at the released threshold (SPEC K.3)
L2 = 10.0


def dense_update(
    projector: torch.Tensor, keys: torch.Tensor, residual: torch.Tensor, cache: torch.Tensor
) -> torch.Tensor:
    """[P (K K^T + cache) + L2 I] X = P K R^T, DeltaW = X^T."""
    left = projector @ (keys @ keys.T + cache)
    left.diagonal().add_(L2)
    return torch.linalg.solve(left, projector @ keys @ residual.T).T


def measure(width: int, new: int, earlier: int, repeats: int, seed: int) -> dict[str, object]:
    """Seconds of each side for one layer of keys of `width` rows, and how far they are apart."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    outside, _ = torch.linalg.qr(draw(width, round((1 - NULL_SHARE) * width)))
    null = NullSpace(outside, True, torch.zeros(width, dtype=torch.float64))
    keys, residual = draw(width, new) / width**0.5, draw(width // 4, new)
    before = null.project(draw(width, earlier) / width**0.5)
    write = NullSpaceWrite({0: null}, L2, {0: before.T.float()})
    ours, (update, _) = common.timed(partial(write, 0, keys, residual), repeats)
    # Float32 is what earlier keys are kept in, so the dense side is given the same.
    cache = before.float().double() @ before.float().double().T
    projector = torch.eye(width, dtype=torch.float64) - outside @ outside.T
    row: dict[str, object] = {"d_mlp": width, "keys": new, "earlier": earlier, "engine_s": ours}
    for dtype in (torch.float32, torch.float64):
        given = (x.to(dtype) for x in (projector, keys, residual, cache))
        seconds, found = common.timed(partial(dense_update, *given))
        name = str(dtype).removeprefix("torch.")
        error = float((found.double() - update).norm() / update.norm())
        row |= {
            f"dense_{name}_s": seconds,
            f"{name}_ratio": seconds / ours,
            f"{name}_error": error,
        }
    kept = 4 * width * earlier
    return row | {"kept_mb": kept / 1e6, "dense_mb": 2 * 4 * width**2 / 1e6}


def parse_arguments() -> argparse.Namespace:
    """Widths of the keys, new and earlier ones, and what all benchmarks take."""
    parser = common.make_parser(__doc__)
    number = common.positive
    parser.add_argument("--widths", type=number, nargs="+", default=[1536, 6400], help="d_mlp")
    parser.add_argument("--keys", type=number, default=100, help="keys that are written")
    parser.add_argument("--earlier", type=number, nargs="+", default=[0, 1900], help="keys kept")
    parser.add_argument("--repeats", type=number, default=3, help="the fastest of so many counts")
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    rows = []
    for width in arguments.widths:
        for earlier in arguments.earlier:
            row = measure(width, arguments.keys, earlier, arguments.repeats, arguments.seed)
            rows.append({k: f"{v:.3g}" if isinstance(v, float) else v for k, v in row.items()})
            common.say(f"d_mlp {width}, {earlier} earlier keys")
    machine = common.describe_machine("cpu", arguments.threads)
    common.write_table(arguments.output / "null_space.csv", rows, machine)
    return 0


if __name__ == "__main__":
    sys.exit(main())
