"""How good a covariance from few tokens is: itself, the update made with it, and what is edited.

Second moments of the keys are gathered once from the embedded excerpt; after each of `--multiples`
(tokens for each row of a key, d_mlp) they are set against those of all tokens, `--reference`. The
targets are the same for all. See docs/benchmarks.md.
"""

import argparse
import sys
from collections.abc import Iterator

import common
import pandas as pd
import torch
from common import Work

from modeledit.data.wikipedia import HELD_OUT, excerpt_path, read_articles, split_articles
from modeledit.editing.covariance import KeySums
from modeledit.editing.factors import factorize
from modeledit.editing.iteration import Statistics
from modeledit.editing.spread import spread
from modeledit.evaluation.metrics import REQUEST_METRICS, request_metrics
from modeledit.lm.scoring import score

METHOD = "MEMIT"
SHOWN = ("eff_acc", "gen_acc", "spec_acc")


def moments(
    work: Work, multiples: list[int], length: int, seed: int
) -> Iterator[tuple[int, int, dict[int, torch.Tensor]]]:
    """(multiple, tokens, C of each layer) after each of `multiples` x d_mlp tokens, in one pass."""
    articles, _ = split_articles(read_articles(excerpt_path()), HELD_OUT, seed)
    texts = iter([article.text for article in articles])
    width = work.model.down_weight(0).shape[1]
    sums = KeySums(work.hyper.layers)
    for multiple in multiples:
        for _ in sums.add_texts(work.model, work.tokenizer, texts, length, multiple * width):
            pass
        if sums.tokens < multiple * width:
            sys.exit(f"the excerpt has {sums.tokens} tokens in texts of {length}; ask for fewer")
        common.say(f"{sums.tokens} tokens of {sums.texts} articles")
        yield multiple, sums.tokens, sums.moments()


def edited(
    work: Work, covariances: dict[int, torch.Tensor], targets: torch.Tensor, before: pd.DataFrame
) -> tuple[dict[int, torch.Tensor], dict[str, float]]:
    """The update of each layer made with `covariances`, and the mean metrics after it."""
    model, layers, how = work.model, work.hyper.layers, work.how
    factors = {i: factorize(matrix, i).lower for i, matrix in covariances.items()}
    old = {i: model.down_weight(i).double() for i in layers}
    with work.unchanged():
        write = how.write(Statistics(work.contexts, factors))
        spread(model, work.key_rows(), targets, write, how.spread, work.token_budget)
        updates = {i: model.down_weight(i).double() - old[i] for i in layers}
        found = request_metrics(scores_of(work), before, "exact", "sum")
    return updates, {name: float(found[name].mean()) for name in REQUEST_METRICS}


def scores_of(work: Work) -> pd.DataFrame:
    """Scores of all prompts on the model as it is."""
    model, switches = work.model, work.how.switches
    return score(
        model, work.tokenizer, work.requests, switches, token_budget=work.token_budget
    ).to_pandas()


def error(found: dict[int, torch.Tensor], expected: dict[int, torch.Tensor]) -> float:
    """The largest relative error (Frobenius) among the layers."""
    return max(float((found[i] - expected[i]).norm() / expected[i].norm()) for i in expected)


def parse_arguments() -> argparse.Namespace:
    parser = common.make_parser(__doc__)
    common.add_model(parser)
    add, number = parser.add_argument, common.positive
    add("--requests", type=number, default=24, help="requests that are edited")
    add("--multiples", type=number, nargs="+", default=[3, 10, 30, 60], help="tokens / d_mlp")
    add(
        "--reference", type=number, default=120, help="tokens / d_mlp of what they are held against"
    )
    add("--length", type=number, default=4096, help="tokens of an article at most")
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    loaded = common.load(arguments)
    torch.set_num_threads(arguments.threads)
    requests = common.draw_requests(arguments.requests, arguments.seed)
    work = common.make_work(arguments, METHOD, requests, loaded)
    before = scores_of(work)
    targets = work.optimize().state
    common.say("targets found")

    asked = [
        *sorted(m for m in arguments.multiples if m < arguments.reference),
        arguments.reference,
    ]
    found = list(moments(work, asked, arguments.length, arguments.seed))
    reference = found[-1][2]
    best, _ = edited(work, reference, targets, before)
    rows = []
    for multiple, tokens, covariances in found:
        updates, metrics = edited(work, covariances, targets, before)
        row: dict[str, object] = {
            "tokens_per_row": multiple,
            "tokens": tokens,
            "covariance_error": f"{error(covariances, reference):.4f}",
            "update_error": f"{error(updates, best):.4f}",
        }
        rows.append(row | {name: round(metrics[name], 4) for name in SHOWN})
    machine = common.describe_machine(arguments.device, arguments.threads)
    same = {
        "model": arguments.model.resolve().name,
        "method": METHOD,
        "requests": len(requests),
        **machine,
    }
    common.write_table(arguments.output / "covariance.csv", rows, same)
    with common.plot(arguments.output / "covariance.png") as axes:
        x = [row["tokens_per_row"] for row in rows[:-1]]
        for name, marker in (("covariance_error", "o"), ("update_error", "s")):
            y = [float(row[name]) for row in rows[:-1]]
            axes.loglog(x, y, marker=marker, label=name.replace("_", " "))
        axes.set_xticks(x, [str(multiple) for multiple in x])
        axes.set_xticks([], minor=True)
        axes.set_xlabel("tokens / $d_{mlp}$")
        axes.set_ylabel(f"relative to {arguments.reference}")
        axes.legend()
    return 0


if __name__ == "__main__":
    sys.exit(main())
