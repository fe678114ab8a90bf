"""Facts of one's own as a page, as a table for the terminal, and all numbers as a frame."""

import textwrap
from collections.abc import Iterator, Mapping

import pandas as pd
from tabulate import tabulate

from modeledit.presentation import TEMPLATES
from modeledit.presentation.own_facts import KINDS, Asked, Outcome
from modeledit.presentation.pages import html_environment

WIDTH = 34  # of a cell of the terminal's tables, in characters
EXPLANATION = (
    "“Says” is an object where the model says the whole of it, else the likeliest next token, "
    "which may be the beginning of a word. Probabilities are those of whole objects, before → "
    "after."
)
MOST_MOVED = 10  # facts of the panel in the terminal's table; the page has all
PLURALS = {"edit": "edits", "paraphrase": "paraphrases", "neighbor": "neighbors"}


def render_page(outcome: Outcome) -> str:
    """One HTML file that needs no other."""
    environment = html_environment()
    environment.filters |= {"percent": percent}
    style = (TEMPLATES / "own_facts.css").read_text(encoding="utf-8")
    return environment.get_template("own_facts.html.j2").render(
        outcome=outcome, style=style, kinds=KINDS, plurals=PLURALS, explanation=EXPLANATION
    )


def render_text(outcome: Outcome) -> str:
    """The same for a terminal: tables, what the iterations did, what else moved, all notes.

    A neighbor of several facts is in it once.
    """
    asked = [one for fact in outcome.facts for one in fact.asked]
    edited = [[one.kind, *_cells(one)] for one in asked if one.kind != "neighbor"]
    neighbors = {(one.text, one.old): _cells(one) for one in asked if one.kind == "neighbor"}
    blocks = [
        f"{outcome.count}, {outcome.study.method} on {outcome.study.model}",
        _table(edited, ("", "prompt", "says before", "says after", "new", "old", "")),
        _table(
            [
                [text, before, after, old, mark]
                for text, before, after, _, old, mark in neighbors.values()
            ],
            ("neighbor", "says before", "says after", "its own object", ""),
        ),
        "\n".join((*textwrap.wrap(EXPLANATION, 100), *outcome.mended)),
        _table(
            [
                ["" if cell is None else str(cell) for cell in (one.k, _short(one.dp))]
                + [_share(outcome, one.good, kind) for kind in KINDS]
                for one in outcome.iterations
            ],
            ("k", "|Δp|", "edits changed", "paraphrases changed", "neighbors kept"),
        ),
        outcome.stop,
        "\n".join(_what_moved(outcome)),
        "\n".join([*_notes(outcome), outcome.note]),
    ]
    return "\n\n".join(block.strip("\n") for block in blocks if block.strip()) + "\n"


def to_frame(outcome: Outcome) -> pd.DataFrame:
    """A row for each prompt and iteration; probabilities as they are."""
    return pd.DataFrame(
        [
            {
                "fact": fact.request.text,
                "kind": asked.kind,
                "prompt": asked.text,
                "k": k,
                "says": answer.says,
                "p_says": answer.sure,
                "new_object": asked.new,
                "p_new": answer.new,
                "old_object": asked.old,
                "p_old": answer.old,
                "mark": asked.mark_at(k),
            }
            for fact in outcome.facts
            for asked in fact.asked
            for k, answer in asked.answers.items()
        ]
    )


def percent(value: float | None) -> str:
    """A probability: 73%, 0.4%, under 0.1%; "" where there is none."""
    if value is None:
        return ""
    if value >= 0.0995:
        return f"{value:.0%}"
    return f"{value:.1%}" if value >= 0.001 else "<0.1%"


def _cells(asked: Asked) -> list[str]:
    """Prompt, what was said before and is said after, both objects, the mark."""
    before, after = asked.before, asked.after
    old = "not given"
    if asked.old is not None:
        old = f"{asked.old} {_change(before.old, after.old)}"
    said = [" ".join((text, percent(p))) for text, p in map(asked.said, (before, after))]
    return [asked.text, *said, f"{asked.new} {_change(before.new, after.new)}", old, asked.mark]


def _change(before: float | None, after: float | None) -> str:
    return f"{percent(before)} → {percent(after)}"


def _table(rows: list[list[str]], headings: tuple[str, ...]) -> str:
    """A table with cells of at most WIDTH characters to a line; "" where there is no row."""
    if not rows:
        return ""
    return tabulate(
        rows, headings, "simple", disable_numparse=True, maxcolwidths=[WIDTH] * len(headings)
    )


def _short(value: float | None) -> str | None:
    return None if value is None else f"{value:.3g}"


def _share(outcome: Outcome, good: Mapping[str, int], kind: str) -> str:
    total = outcome.totals[kind]
    return f"{good[kind]} of {total}" if total else "none asked"


def _what_moved(outcome: Outcome) -> Iterator[str]:
    if not outcome.panel:
        yield "What else moved is not known: the unedited model knows no fact of the panel."
        return
    yield f"What else moved: {len(outcome.moved)} of {outcome.panel} facts that nobody edited."
    for moved in outcome.moved[:MOST_MOVED]:
        own = " (an edited subject)" if moved.own else ""
        yield f"  {moved.prompt} {moved.object} {percent(moved.before)} → {moved.said}{own}"
    if len(outcome.moved) > MOST_MOVED:
        yield f"  and {len(outcome.moved) - MOST_MOVED} more"


def _notes(outcome: Outcome) -> Iterator[str]:
    """What is said about facts; once for all of which the same is to be said."""
    of: dict[str, list[str]] = {}
    for fact in outcome.facts:
        for note in fact.notes:
            of.setdefault(note, []).append(fact.request.text)
    for note, facts in of.items():
        yield f"{', '.join(f'“{fact}”' for fact in facts)}: {note}"
