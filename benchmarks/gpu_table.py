"""The tables of docs/benchmarks.md that are made from what gpu.py measured.

`python benchmarks/gpu_table.py` writes them anew; a test says when they are stale.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from modeledit.io.files import read_json, write_text
from modeledit.study.config import described_model
from modeledit.study.manual import between, table

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/benchmarks.md"
MEASURED = ROOT / "benchmarks/measured/h100.json"
ARTICLES, ARTICLE = 100_000, 730  # the paper's covariance; mean tokens of an article

# Seconds per edit of MEMIT on CounterFact with one A40: AlphaEdit (arXiv 2410.02355), table 7.
PUBLISHED = {"gpt2-xl": 4.74, "gpt-j-6b": 3.35, "llama-3-8b": 2.23}

Entry = Mapping[str, Any]


def title(entry: Entry) -> str:
    return described_model(entry["model"], ROOT).title


def per_request(entry: Entry, values: Mapping[str, float]) -> dict[str, float]:
    return {stage: value / entry["requests"] for stage, value in values.items()}


def whole(entries: Sequence[Entry]) -> Iterator[tuple[str, ...]]:
    """A whole iteration in float32, a row for each model."""
    for entry in entries:
        if "plain_seconds" not in entry:
            continue
        seconds, plain = (per_request(entry, entry[n]) for n in ("seconds", "plain_seconds"))
        peak = max(entry["peak_gib"].values())
        yield (
            title(entry),
            *(f"{seconds[s]:.3f}" for s in ("optimization", "spread", "p-hat", "scoring")),
            f"{sum(seconds.values()):.2f}",
            f"{sum(plain.values()):.1f}",
            f"{sum(plain.values()) / sum(seconds.values()):.1f}",
            f"{peak:.0f} ({entry['estimated_gib']:.0f})",
            f"{sum(per_request(entry, entry['joules']).values()):.0f}",
            f"{entry['target_error']:.0e}",
        )


def optimization(entries: Sequence[Entry], ceilings: Mapping[tuple, float]) -> Iterator[tuple]:
    """OPTIMIZATION, a row for each model, method, precision and token budget."""
    for entry in entries:
        seconds = entry["seconds"]["optimization"]
        rate = entry["operations"] / seconds / 1e12
        ceiling = ceilings[entry["model"], entry["precision"]]
        yield (
            title(entry),
            entry["what"],
            entry["precision"],
            str(entry["token_budget"]),
            f"{seconds / entry['requests']:.3f}",
            f"{rate:.1f}",
            f"{ceiling:.0f}",
            f"{rate / ceiling:.2f}",
            f"{entry['joules']['optimization'] / entry['requests']:.0f}",
            f"{entry['target_error']:.0e}" if "target_error" in entry else "",
        )


def covariance(entries: Sequence[Entry]) -> Iterator[tuple]:
    """Second moments, a row for each model."""
    for entry in entries:
        rate = entry["tokens"] / entry["seconds"]
        yield (
            title(entry),
            f"{entry['layers']} of {entry['d_mlp']}",
            f"{rate:,.0f}",
            f"{ARTICLES * ARTICLE / rate / 3600:.1f}",
            f"{entry['factor_seconds']:.2f}",
        )


def published(entries: Sequence[Entry]) -> Iterator[tuple]:
    """MEMIT's edits without the scores, beside what others printed."""
    for name, theirs in PUBLISHED.items():
        of_model = {e["precision"]: e for e in entries if e["model"] == name and is_first(e)}
        exact = per_request(of_model["float32"], of_model["float32"]["seconds"])
        quick = per_request(of_model["tf32"], of_model["tf32"]["seconds"])
        yield (
            title(of_model["float32"]),
            f"{theirs:.2f}",
            f"{exact['optimization'] + exact['spread']:.2f}",
            f"{quick['optimization'] + exact['spread']:.2f}",
        )


def is_first(entry: Entry) -> bool:
    """Whether an entry is of MEMIT with the token budget of all."""
    return entry["what"] == "MEMIT" and entry["token_budget"] == 2048


def tables() -> str:
    """All tables, each with the line that introduces it."""
    found = read_json(MEASURED)
    entries = list(found["entries"].values())
    ceilings = {
        (e["model"], e["precision"]): e["tflop_per_s"] for e in entries if e["what"] == "ceiling"
    }
    edits = sorted(
        (e for e in entries if "operations" in e),
        key=lambda e: (e["model"], e["what"] != "MEMIT", e["what"], -ceilings[e["model"], "tf32"]),
    )
    made = found["made_with"]
    machine = f"{made['device']}, torch {made['torch']}, {made['requests']} requests of CounterFact"
    return "\n\n".join(
        [
            f"One iteration of MEMIT in float32 and its scores, seconds per request ({machine}):",
            table(
                (
                    *("model", "OPTIMIZATION", "SPREAD", "p-hat", "scoring", "whole"),
                    *("plain loop", "ratio", "peak GiB (estimated)", "joules", "target error"),
                ),
                whole(edits),
            ),
            "OPTIMIZATION alone; seconds and joules per request, ceiling in the same precision, "
            "target error against float32 (of float32 against the plain loop):",
            table(
                (
                    *("model", "method", "precision", "tokens at once", "seconds", "TFLOP/s"),
                    *("ceiling", "share", "joules", "target error"),
                ),
                optimization(edits, ceilings),
            ),
            f"Second moments in articles of {ARTICLE} tokens, and one Cholesky factor:",
            table(
                (
                    "model",
                    "layers of d_mlp",
                    "tokens per second",
                    f"hours for {ARTICLES:,} articles",
                    "factor, seconds",
                ),
                covariance([e for e in entries if e["what"] == "covariance"]),
            ),
            "Seconds per edit of MEMIT on CounterFact, without scores, beside those that AlphaEdit "
            "(arXiv 2410.02355, table 7) has of the released MEMIT on an A40, another and slower "
            "card:",
            table(
                ("model", "released, A40", "here, float32", "here, tf32"),
                published(edits),
            ),
        ]
    )


def written(text: str) -> str:
    """The page with the tables as they should be."""
    return between(text, "h100: python benchmarks/gpu_table.py", "h100", tables(), PAGE)


if __name__ == "__main__":
    write_text(PAGE, written(PAGE.read_text(encoding="utf-8")))
