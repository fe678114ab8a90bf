"""Sentences and names that several outputs share."""

from collections.abc import Mapping, Sequence

import pandas as pd

from modeledit.evaluation.aggregation import span
from modeledit.evaluation.metrics import METRICS
from modeledit.evaluation.significance import ALPHA
from modeledit.study.config import ELIGIBLE


def describe_dataset(name: str) -> str:
    """A dataset's printed name: CounterFact, "geography (eligible)"."""
    base = name.removesuffix(ELIGIBLE)
    printed = {"counterfact": "CounterFact", "zsre": "zsRE"}.get(base, base)
    return printed + (" (eligible)" if base != name else "")


def metric_words(metric: str) -> str:
    """A metric in a sentence: eff_acc is "efficacy accuracy"."""
    return f"{METRICS[metric].group} {METRICS[metric].heading}".lower()


def small_model_note(titles: list[str]) -> str:
    """The sentence under everything that was measured on a model the paper does not use."""
    if not titles:
        return ""
    return f"Measured on {', '.join(titles)}; not comparable with the paper's numbers."


def note(
    differences: pd.DataFrame,
    dataset: str,
    *,
    comparison: str | None = None,
    metrics: Sequence[str] = ("eff_acc", "gen_acc", "spec_acc", "score_acc"),
    names: Mapping[str, str] | None = None,
) -> str:
    """One sentence for a table's footnote: the test, its edits, the correction, what holds.

    Lists the significant differences of ``metrics`` on ``dataset`` (of one kind of ``comparison``,
    or all), in percentage points; ``names`` maps models to printed names. Empty where nothing was
    tested.
    """
    rows = differences[
        (differences["dataset"] == dataset) & differences["metric"].isin(list(metrics))
    ]
    rows = rows if comparison is None else rows[rows["comparison"] == comparison]
    if rows.empty:
        return ""
    found = []
    pairs = ["model", "comparison", "a", "a_k", "b", "b_k"]
    for key, group in rows[rows["significant"]].groupby(pairs, sort=False):
        model, kind, a, a_k, b, b_k = map(str, key)
        words = [
            f"{metric_words(metric)} {100 * difference:+.1f}"
            for metric, difference in zip(group["metric"], group["difference"], strict=True)
        ]
        sides = f"{a} (k = {a_k}) against " + (
            f"k = {b_k}" if kind == "iteration" else f"{b} (k = {b_k})"
        )
        found.append(f"{(names or {}).get(model, model)}, {sides}: {', '.join(words)}")
    held = f"these hold, in points: {'; '.join(found)}" if found else "none of them holds"
    return (
        f"Differences on the same edits (n = {span(rows['n'])}), paired permutation test, p"
        f" adjusted over {len(differences)} tests after Benjamini and Hochberg; of the"
        f" {len(rows)} shown here, at {ALPHA:.0%} {held}."
    )
