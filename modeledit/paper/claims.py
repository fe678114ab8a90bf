"""What the paper claims, as statements to check: sections 3.1, 5.1, 5.2, 6.1 to 6.3, appendix A.

`CLAIMS` says each in short with the way to find out; `judging` judges what is found. A cell that
can say nothing about a claim, such as a method that stops at k = 1 about further iterations, does
not count. Differences count however small they are; `significance` says which of them the edits can
tell apart. Sizes are only claimed for the paper's own model and dataset.
"""

from collections.abc import Callable, Collection, Iterator, Mapping

import numpy as np
import pandas as pd

from modeledit.evaluation.aggregation import Averaging, by_run
from modeledit.evaluation.metrics import COLLAPSED_ABOVE, distance, mean_perplexity, underedit
from modeledit.paper.judging import (
    ROUNDING,
    Cell,
    Claim,
    Data,
    Find,
    Finding,
    Means,
    Stop,
    assisted,
    assisted_cells,
    bare,
    both,
    change,
    falls,
    iterated,
    memit_and_pmet,
    plain,
    plain_courses,
    rises,
    unprefixed,
    where,
)
from modeledit.study import stopping
from modeledit.study.methods import METHODS

COLUMNS = ("id", "section", "statement", "scope", "verdict", "evidence")
PAPER_MODELS, SMALL_MODELS, PRINTED = "the paper's models", "small model", "printed in the paper"
ALIKE = 0.02  # "stays the same": SPEC J.2's tolerance of an accuracy
SIZE = 0.03  # a gain of the printed size, the difference of two such accuracies


def check_claims(
    metrics: pd.DataFrame,
    requests: pd.DataFrame | None = None,
    *,
    averaging: Averaging,
    small: Collection[str] = (),
    printed: pd.DataFrame | None = None,
    names: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """All CLAIMS with their verdicts, one row per claim and scope (COLUMNS).

    Scopes: the models of ``metrics`` that the paper (arXiv:2503.11895) has, those in ``small``
    (where there are any), and the paper's own rows, ``printed`` (`published.as_metrics`).
    ``requests``, ``averaging`` and ``names`` are those of `judging.Data`.
    """
    is_small = metrics["model"].isin(list(small))
    scopes = {PAPER_MODELS: Data(metrics[~is_small], requests, averaging=averaging, names=names)}
    if is_small.any():
        scopes[SMALL_MODELS] = Data(metrics[is_small], requests, averaging=averaging, names=names)
    if printed is not None:
        scopes[PRINTED] = Data(printed, averaging=_as_printed(averaging.rule.epsilon), names=names)
    return pd.DataFrame(
        [
            (claim.id, claim.section, claim.statement, scope, *claim.verdict(data))
            for claim in CLAIMS
            for scope, data in scopes.items()
        ],
        columns=list(COLUMNS),
    )


def _as_printed(epsilon: float) -> Averaging:
    """For the paper's own rows: what is printed are means over trials already."""
    return Averaging(stopping.Rule("mean", epsilon), "mean_of_scores", None, "keep")


# --------------------------------------------------------------------------------------------
# Collapse and stops


def _collapse(
    test: Callable[[Cell], bool], expected: Callable[[Cell], bool] = lambda cell: True
) -> Find:
    """Whether cells collapse at some iteration as ``expected``, of those that pass the test."""

    def find(data: Data) -> Iterator[Finding]:
        for cell in filter(test, data.steps):
            worst = pd.Series([row["me_ppl"] for row in data.steps[cell].values()]).max()
            if not np.isnan(worst):
                holds = (worst > COLLAPSED_ABOVE) == expected(cell)
                yield Finding(cell, bool(holds), f"ME-PPL up to {worst:.4g}")

    return find


def _halts(cells: Callable[[Data], Collection[Cell]]) -> Find:
    def find(data: Data) -> Iterator[Finding]:
        wanted = set(cells(data))
        for key, picked in data.picks.items():
            if key[:3] in wanted:
                k = picked["proposed"]
                text = f"k = {k}" if k else f"not within {data.courses[key].index.max()}"
                yield Finding(key[:3], k is not None, text)

    return find


def _slow(data: Data) -> Iterator[Finding]:
    for cell, run, picked in plain_courses(data):
        k, last = picked["proposed"], run.index.max()
        if cell[1:] == ("gpt2-xl", "PMET") and (k or last >= stopping.BASE_ITERATIONS):
            text = f"k = {k}" if k else f"not within {last}"
            yield Finding(cell, k is None or k > stopping.BASE_ITERATIONS, text)


def _longer(data: Data) -> Iterator[Finding]:
    for cell, algorithm in assisted_cells(data):
        without, with_it = data.stops[algorithm], data.stops[cell]
        if without.met:
            unmet = "" if with_it.met else " (not met)"
            text = f"k = {with_it.k_text}{unmet} against {without.k_text}"
            yield Finding(cell, bool(with_it.k >= without.k), text)


# --------------------------------------------------------------------------------------------
# Iterations


def _dp_falls(data: Data) -> Iterator[Finding]:
    for cell, run, picked in plain_courses(data):
        dp = run.loc[1 : picked["proposed"] or run.index.max(), "dp"].dropna().to_numpy()
        if len(dp) > 1:
            falls = (dp[1:] < dp[:-1]).all()
            yield Finding(cell, bool(falls), " to ".join(f"{v:.4g}" for v in dp[[0, -1]]))


def _spread_repairs(data: Data) -> Iterator[Finding]:
    """Of what p-hat falls, the change of the target's p-bar can explain less than half."""
    for cell, before, after in iterated(data):
        if before["p_hat"] > after["p_hat"]:
            moved = float(distance(before["p_bar"], after["p_bar"]))
            if not np.isnan(moved):
                holds = moved < (before["p_hat"] - after["p_hat"]) / 2
                text = ", ".join(
                    f"{name} {before[column]:.4g} to {after[column]:.4g}"
                    for name, column in (("p-hat", "p_hat"), ("p-bar", "p_bar"))
                )
                yield Finding(cell, bool(holds), text)


def _every_k(data: Data) -> Iterator[Finding]:
    for cell, algorithm in assisted_cells(data):
        shared = sorted(set(data.steps[cell]) & set(data.steps[algorithm]))
        gains = [
            data.steps[cell][k]["spec_acc"] - data.steps[algorithm][k]["spec_acc"] for k in shared
        ]
        better = [rises(gain) for gain in gains if not np.isnan(gain)]
        if better:
            yield Finding(cell, all(better), f"at {sum(better)} of {len(better)} iterations")


def _between(data: Data) -> Iterator[Finding]:
    for cell, algorithm in assisted_cells(data, prefixed=True):
        if (other := bare(cell)) in data.stops:
            three = [data.stops[c]["spec_acc"] for c in (algorithm, cell, other)]
            text = "{:.1f} plain, {:.1f} NAP_, {:.1f} NA_".format(*(100 * value for value in three))
            yield Finding(cell, three[0] < three[1] < three[2], text)


def _missed(data: Data) -> Iterator[tuple[Cell, np.ndarray, pd.DataFrame, pd.DataFrame]]:
    """Runs beyond k = 1 with UnderEdit edits: which edits these are, and all at k = 1 and stop."""
    for run, rows in () if data.requests is None else by_run(data.requests):
        if run not in data.stop_of or METHODS[run.method].neighbor_assisted:
            continue
        k = data.stop_of[run]
        if k > 1:
            first, stop = (
                rows[rows["k"] == i].sort_values("request", ignore_index=True) for i in (1, k)
            )
            missed = first["request"].isin(underedit(first)).to_numpy()
            if missed.any() and first["request"].equals(stop["request"]):
                yield run[:3], missed, first, stop


def _missed_gain(data: Data) -> Iterator[Finding]:
    for cell, missed, first, stop in _missed(data):
        gain = stop["eff_acc"] - first["eff_acc"]
        some, every = gain[missed].mean(), gain.mean()
        text = f"{missed.sum()} UnderEdit edits {100 * some:+.1f}, all {100 * every:+.1f}"
        yield Finding(cell, bool(some > every), text)


def _missed_share(data: Data) -> Iterator[Finding]:
    for cell, missed, first, stop in _missed(data):
        gain = stop["eff_acc"] - first["eff_acc"]
        if gain.sum() > 0:
            share = gain[missed].sum() / gain.sum()
            yield Finding(cell, bool(share > 0.5), f"{share:.0%} of the gain")


def _mean_dp(edits: pd.DataFrame) -> float:
    return float(distance(mean_perplexity(edits["p_hat"]), mean_perplexity(edits["p_bar"])))


def _missed_dp(data: Data) -> Iterator[Finding]:
    for cell, missed, first, stop in _missed(data):
        if "p_hat" not in first:
            continue
        everyone = np.ones_like(missed)
        dp = [_mean_dp(rows[chosen]) for chosen in (missed, everyone) for rows in (first, stop)]
        if np.isfinite(dp).all():
            text = "{:.4g} to {:.4g}, all {:.4g} to {:.4g}".format(*dp)
            yield Finding(cell, bool(dp[0] - dp[1] > dp[2] - dp[3]), text)


# --------------------------------------------------------------------------------------------
# Stopping criteria


def _explored(run: pd.DataFrame, k: int) -> bool:
    """Whether a criterion had the chance to pick a later iteration than k."""
    return run.index.max() > k or k >= stopping.EXTENDED_ITERATIONS


def _others(picked: Mapping[str, int | None]) -> list[int]:
    return [k for name in ("monotonic", "small_change") if (k := picked[name])]


def _rule_best(data: Data) -> Iterator[Finding]:
    for cell, run, picked in plain_courses(data):
        k = picked["proposed"]
        if k and (_others(picked) or _explored(run, k)):
            score = run["score_acc"]
            best = max([k, *_others(picked)], key=lambda i: score[i])
            lost = score[best] - score[k] > ROUNDING
            text = f"{100 * score[k]:.1f} at k = {k}"
            text += f", {100 * score[best]:.1f} at k = {best}" if lost else ""
            yield Finding(cell, not lost, text)


def _rule_first(data: Data) -> Iterator[Finding]:
    for cell, _, picked in plain_courses(data):
        k, others = picked["proposed"], _others(picked)
        if k and others:
            yield Finding(cell, k <= min(others), f"k = {k} against {min(others)}")


def _small_change_two(data: Data) -> Iterator[Finding]:
    for cell, run, _ in plain_courses(data):
        change = abs(run["p_hat"].get(1, np.nan) - run["p_hat"].get(0, np.nan))
        if not np.isnan(change):
            yield Finding(cell, bool(change > stopping.EPSILON), f"changes by {change:.4g}")


def _small_change_later(data: Data) -> Iterator[Finding]:
    for cell, run, picked in plain_courses(data):
        k, other = picked["proposed"], picked["small_change"]
        if k:
            text = f"k = {other} against {k}" if other else f"not by {run.index.max()} against {k}"
            yield Finding(cell, other is None or other > k, text)


def _monotonic_fails(data: Data) -> Iterator[Finding]:
    for cell, run, picked in plain_courses(data):
        k, other = picked["proposed"], picked["monotonic"]
        if k and (other or _explored(run, k)):
            text = f"k = {other} against {k}" if other else f"never against {k}"
            yield Finding(cell, other is None or other < k, text)


# --------------------------------------------------------------------------------------------
# The claims


def _stays(difference: float) -> bool:
    return abs(difference) <= ALIKE + ROUNDING


def _about(size: float) -> Callable[[float], bool]:
    return lambda difference: abs(difference - size) <= SIZE + ROUNDING


def _meets(cell: Cell, before: Means, after: Stop) -> bool:
    return after.met


def _score_rose(cell: Cell, before: Means, after: Stop) -> bool:
    return rises(after["score_acc"] - before["score_acc"])


def _specificity_fell(cell: Cell, before: Means, after: Stop) -> bool:
    return falls(after["spec_acc"] - before["spec_acc"])


def _is(*names: str) -> Callable[[Cell, Means, Stop], bool]:
    return lambda cell, before, after: cell[-len(names) :] == names


def _spread_on(model: str) -> Callable[[Cell], bool]:
    return lambda cell: cell[1].startswith(model) and cell[2] in ("MEMIT", "PMET")


_LARGEST = where(iterated, _is("counterfact", "gpt2-xl", "PMET"))
_GPT2_XL = where(assisted, _is("counterfact-eligible", "gpt2-xl", "NA_MEMIT"))
_LLAMA_2 = where(assisted, _is("llama-2-7b", "NA_PMET"))
_ITERATED = "a plain method that goes beyond k = 1"
_MISSED = "of a plain run beyond k = 1 that has UnderEdit edits"
_PAIR = "a method with and without NA_ on the same requests"
_TRIPLE = "a method plain, with NA_ and with NAP_ on the same requests"
_BOTH = "MEMIT and PMET on the same requests"
_CRITERIA = "a plain run that meets the rule and goes on, or in which another criterion fires"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "spread-repairs", "3.1, 6.1", "general",
        "Most of the gain comes from repeating SPREAD: from k = 1 to the stop the p-bar of the"
        " targets changes by less than half of what p-hat falls.",
        f"{_ITERATED} and lowers p-hat", _spread_repairs,
    ),
    Claim(
        "score-rises", "5.1", "most",
        "For most models and methods the score is higher at the stop than after one iteration.",
        _ITERATED, change(iterated, "score_acc", rises),
    ),
    Claim(
        "stop-beats-once", "5.1", "general",
        "Stopping by the rule gives a better score than running the algorithm once.",
        f"{_ITERATED} and meets the rule", change(where(iterated, _meets), "score_acc", rises),
    ),
    Claim(
        "gain-parts", "5.1", "general",
        "Where the score rises, efficacy and generalization rise.",
        f"{_ITERATED} with a rising score",
        change(where(iterated, _score_rose), "eff_acc gen_acc", rises),
    ),
    Claim(
        "largest-gains", "5.1", "general",
        "PMET on GPT-2 XL, CounterFact, gains 38 points of score and 77 of efficacy by iteration.",
        "PMET on gpt2-xl, counterfact, beyond k = 1",
        both(
            change(_LARGEST, "score_acc", _about(0.38)),
            change(_LARGEST, "eff_acc", _about(0.77)),
        ),
    ),
    Claim(
        "dp-falls", "5.1", "most",
        "In most runs abs(dp) falls from each iteration to the next until the stop.",
        "a plain run with two iterations", _dp_falls,
    ),
    Claim(
        "always-halts", "5.1", "always",
        "The rule always halts the process within the budget.",
        "a run of a plain method", _halts(plain),
    ),
    Claim(
        "specificity-falls", "5.1", "can",
        "Iterating can lower specificity.",
        _ITERATED, change(iterated, "spec_acc", falls),
    ),
    Claim(
        "score-outweighs", "5.1", "general",
        "Where specificity falls, the score rises all the same.",
        f"{_ITERATED} with falling specificity",
        change(where(iterated, _specificity_fell), "score_acc", rises),
    ),
    Claim(
        "rome-collapses", "5.1", "general",
        "ROME collapses when iterated (ME-PPL above 1000).",
        "ROME", _collapse(lambda cell: cell[2] == "ROME"),
    ),
    Claim(
        "gpt-stable", "5.1", "always",
        "With MEMIT and PMET a GPT model never collapses.",
        "MEMIT or PMET on a GPT model", _collapse(_spread_on("gpt"), lambda cell: False),
    ),
    Claim(
        "llama-memit", "5.1", "general",
        "Llama-2 collapses with MEMIT, and not with PMET.",
        "MEMIT or PMET on llama-2-7b",
        _collapse(_spread_on("llama-2-7b"), lambda cell: cell[2] == "MEMIT"),
    ),
    Claim(
        "pmet-slow", "5.1, Table 6", "general",
        "PMET on GPT-2 XL needs more than 5 iterations.",
        "PMET on gpt2-xl", _slow,
    ),
    Claim(
        "underedit-gain", "6.1", "general",
        "Efficacy gains more on UnderEdit edits than on all.",
        f"per-request values {_MISSED}", _missed_gain,
    ),
    Claim(
        "underedit-share", "6.1", "general",
        "Most of the efficacy gain comes from UnderEdit edits.",
        f"per-request values {_MISSED}", _missed_share,
    ),
    Claim(
        "underedit-dp", "6.1", "general",
        "abs(dp) falls more on UnderEdit edits than on all.",
        f"per-edit perplexities {_MISSED}", _missed_dp,
    ),
    Claim(
        "neighbor-specificity", "5.2", "general",
        "A neighbor in the loss raises specificity at the stop.",
        _PAIR, change(assisted, "spec_acc", rises),
    ),
    Claim(
        "neighbor-every-k", "5.2", "general",
        "A neighbor in the loss raises specificity at all iterations.",
        _PAIR, _every_k,
    ),
    Claim(
        "neighbor-score", "5.2", "general",
        "A neighbor in the loss raises the score at the stop.",
        _PAIR, change(assisted, "score_acc", rises),
    ),
    Claim(
        "neighbor-generalization", "5.2", "general",
        "A neighbor in the loss lowers generalization at the stop.",
        _PAIR, change(assisted, "gen_acc", falls),
    ),
    Claim(
        "neighbor-efficacy", "5.2", "general",
        "A neighbor in the loss raises efficacy at the stop (as worded; SPEC P9).",
        _PAIR, change(assisted, "eff_acc", rises),
    ),
    Claim(
        "neighbor-efficacy-stays", "5.2, Table 2", "general",
        "A neighbor in the loss leaves efficacy at the stop within 2 points.",
        _PAIR, change(assisted, "eff_acc", _stays),
    ),
    Claim(
        "neighbor-sizes", "5.2", "general",
        "NA_MEMIT on GPT-2 XL gains 6 points of score and 34 of specificity over MEMIT.",
        "MEMIT and NA_MEMIT on gpt2-xl, counterfact-eligible",
        both(
            change(_GPT2_XL, "score_acc", _about(0.06)),
            change(_GPT2_XL, "spec_acc", _about(0.34)),
        ),
    ),
    Claim(
        "neighbor-halts", "5.2", "general",
        "The rule halts neighbor-assisted runs too.",
        _PAIR, _halts(lambda data: [cell for cell, *_ in assisted(data)]),
    ),
    Claim(
        "neighbor-longer", "5.2, Table 2", "general",
        "A neighbor in the loss takes as many iterations or more.",
        f"{_PAIR}, the plain one meeting the rule", _longer,
    ),
    Claim(
        "llama-neighbor", "5.2", "general",
        "On Llama-2, NA_PMET scores lower than PMET and collapses.",
        "PMET and NA_PMET on llama-2-7b",
        both(
            change(_LLAMA_2, "score_acc", falls),
            _collapse(lambda cell: cell[1:] == ("llama-2-7b", "NA_PMET")),
        ),
    ),
    Claim(
        "prefix-specificity", "6.2", "general",
        "A prefixed neighbor (NAP_) raises specificity too, but less than a bare one (NA_).",
        _TRIPLE, _between,
    ),
    Claim(
        "prefix-free-score", "6.2", "general",
        "A bare neighbor gives a better score than a prefixed one.",
        _TRIPLE, change(unprefixed, "score_acc", rises),
    ),
    Claim(
        "rule-best", "6.3", "general",
        "The proposed rule picks the best score of the three criteria, or shares it.",
        _CRITERIA, _rule_best,
    ),
    Claim(
        "rule-first", "6.3, Table 4", "general",
        "No other criterion stops before the proposed rule.",
        "a plain run in which another criterion fires too", _rule_first,
    ),
    Claim(
        "small-change-two", "6.3", "always",
        "Small change always needs two iterations: the first one changes the perplexity too much.",
        "p-hat before and after the first iteration", _small_change_two,
    ),
    Claim(
        "small-change-later", "6.3", "always",
        "Small change always takes at least one iteration more than the proposed rule.",
        "a plain run that meets the rule", _small_change_later,
    ),
    Claim(
        "monotonic-fails", "6.3, Table 4", "can",
        "Monotonic decrease can stop before the proposed rule, or not at all.",
        _CRITERIA, _monotonic_fails,
    ),
    Claim(
        "pmet-precise", "A", "general",
        "PMET edits more precisely than MEMIT: its specificity at the stop is higher.",
        _BOTH, change(memit_and_pmet, "spec_acc", rises),
    ),
    Claim(
        "pmet-stronger", "A", "general",
        "PMET's efficacy and generalization at the stop are higher than MEMIT's.",
        _BOTH, change(memit_and_pmet, "eff_acc gen_acc", rises),
    ),
)  # fmt: skip
