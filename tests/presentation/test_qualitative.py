"""Figure 1: the edit that shows most, right and wrong by rank, nothing outside the sheet."""

import json
import math
import runpy

import matplotlib.style
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from modeledit.data.requests import NO_TRUE_OBJECT, Neighbor, Request, write_requests
from modeledit.evaluation.metrics import COLUMNS
from modeledit.presentation.figures import qualitative as P
from modeledit.presentation.figures.style import STYLE
from modeledit.study.layout import RunKey
from modeledit.study.stopping import Rule
from tests.script_job import script_job

ROW = ("request", "kind", "index", "object", "token_ids", "logprobs", "argmax")
ROW += ("ranks", "top", "top_logprobs")


def request(number=1, neighbors=3, paraphrases=2):
    subject = f"City {number}"
    return Request(
        id=number,
        subject=subject,
        prompt="{} is a city in",
        target_new="Japan",
        target_true="France",
        paraphrases=tuple(f"Text {i}. {subject} lies in" for i in range(paraphrases)),
        neighbors=tuple(
            Neighbor("{} is a city in", f"Town {number}.{j}", "France") for j in range(neighbors)
        ),
    )


def scores(requests, wrong=(), top=None):
    """What a model says that is right everywhere but at `wrong`: (request, kind, index)."""
    rows = []
    for r in requests:
        prompts = [("edit", 0)] + [("paraphrase", i) for i in range(len(r.paraphrases))]
        prompts += [("neighbor", j) for j in range(len(r.neighbors))]
        for kind, i in prompts:
            right = (r.id, kind, i) not in wrong
            says_new = right == (kind != "neighbor")
            says, other = ("Japan", "France") if says_new else ("France", "Japan")
            best = [top or f" {says}", f" {other}", " a", ",", "\n"]
            for name in ("new", "true"):
                rank = 1 if says_new == (name == "new") else 2
                values = [math.log(0.7), math.log(0.2), -3.0, -4.0, -5.0]
                rows.append((r.id, kind, i, name, [4], [-1.0], [4], [rank], best, values))
    rows.append((0, "text", 0, "", [1, 2], [-1.0], [], [], [], []))
    return pd.DataFrame(rows, columns=list(ROW))


def every(requests, kind):
    counts = {"edit": 1, "paraphrase": 2, "neighbor": 3}
    return [(r.id, kind, i) for r in requests for i in range(counts[kind])]


def stages(requests, *wrong):
    """Stages after the unedited one, which knows no new object."""
    before = every(requests, "edit") + every(requests, "paraphrase")
    return [
        P.Stage(f"stage {n}", scores(requests, some)) for n, some in enumerate((before, *wrong))
    ]


# ---- which edit


def test_the_edit_with_both_faults_is_shown():
    some = [request(n) for n in (5, 3, 8, 7)]
    first = [(3, "edit", 0), (8, "neighbor", 1), (7, "edit", 0), (7, "neighbor", 2)]
    assert P.pick_edit(stages(some, first, []), some)[0] == 7
    assert P.pick_edit(stages(some, first[:2], []), some)[0] == 3
    chosen, why = P.pick_edit(stages(some, first[1:2], []), some)
    assert chosen == 8 and why.startswith("OverEdit")


def test_an_edit_that_ends_wrong_is_not_shown():
    some = [request(n) for n in (1, 2, 3)]
    first = [(1, "edit", 0), (2, "edit", 0), (2, "neighbor", 0), (3, "neighbor", 0)]
    ends = [(1, "edit", 0), (2, "neighbor", 0)]
    # 1 is wrong at the end, 2 has more faults than 3, but also one that stays.
    assert P.pick_edit(stages(some, first, ends), some)[0] == 2
    assert P.pick_edit(stages(some, first, [*ends, (2, "edit", 0)]), some)[0] == 3


def test_more_prompts_put_right_come_before_fewer_wrong_ones():
    some = [request(1), request(2), request(3)]
    first = [(n, "neighbor", j) for n in (2, 3) for j in (0, 1)] + [(1, "neighbor", 0)]
    ends = [(2, "neighbor", 2), (3, "neighbor", 2), (2, "paraphrase", 0)]
    assert P.pick_edit(stages(some, first, ends), some)[0] == 3
    assert P.pick_edit(stages(some, first, ends[:2]), some)[0] == 2


def test_a_neighbor_that_was_never_known_is_no_overedit():
    some = [request(1), request(2)]
    unknown = [(2, "neighbor", 0)]
    found = stages(some, unknown, unknown)
    found[0] = P.Stage("unedited", scores(some, [*every(some, "edit"), *unknown]))
    assert P.pick_edit(found, some) == (1, "the smallest id")


def test_without_candidates_the_smallest_id_is_shown():
    some = [request(4), request(2)]
    assert P.pick_edit(stages(some, [], []), some)[0] == 2
    assert P.pick_edit(stages(some, [(4, "edit", 0)]), some)[0] == 2  # nothing to end with


prompts = st.sampled_from(
    [(n, kind, i) for n in (1, 2, 3) for kind, i in [("edit", 0), ("neighbor", 0), ("neighbor", 2)]]
)


@settings(deadline=None, max_examples=40)
@given(st.sets(prompts), st.sets(prompts), st.permutations([1, 2, 3]))
def test_the_choice_keeps_its_promise(first, last, order):
    some = [request(n) for n in order]
    chosen, why = P.pick_edit(stages(some, first, last), some)
    candidates = [n for n in order if any(n == p[0] for p in first) and (n, "edit", 0) not in last]
    assert chosen in (candidates or [1])
    assert ("UnderEdit" in why) == bool(candidates and (chosen, "edit", 0) in first)


# ---- the panel


def test_the_record_says_what_is_drawn(tmp_path):
    edit = request(7, neighbors=6)
    wrong = [(7, "neighbor", 5), (7, "neighbor", 3)]
    path = tmp_path / "panel.png"
    record = P.figure_qualitative([request(1), edit], stages([edit], wrong, []), path, request=7)
    assert record["label"] == "City 7: France → Japan" and record["why"] == "named"
    groups = {group["kind"]: group for group in record["groups"]}
    assert [group["n"] for group in groups.values()] == [1, 2, 6]
    assert groups["edit"]["n_right"] == [0, 1, 1] and groups["neighbor"]["n_right"] == [6, 4, 6]
    # Those that turn are among the four.
    assert [row["index"] for row in groups["neighbor"]["rows"]] == [0, 1, 3, 5]
    row = groups["neighbor"]["rows"][2]
    assert row["prompt"] == "Town 7.3 is a city in" and row["object"] == "France"
    assert [cell["rank"] for cell in row["cells"]] == [1, 2, 1]
    assert row["cells"][1]["top"][0] == " Japan"
    assert row["cells"][1]["p"][0] == pytest.approx(0.7)
    assert json.loads(path.with_suffix(".json").read_text(encoding="utf-8")) == record
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF")


def test_a_rank_decides_and_not_the_text(tmp_path):
    edit = request(1)
    frame = scores([edit], top=" Japan")  # the neighbors' France begins with another token
    frame["ranks"] = [
        [2] if kind == "edit" else ranks for kind, ranks in frame[["kind", "ranks"]].to_numpy()
    ]
    record = P.figure_qualitative([edit], [P.Stage("a", frame)], tmp_path / "a.png")
    edit_group, _, neighbors = record["groups"]
    assert edit_group["n_right"] == [0] and neighbors["n_right"] == [3]


def test_zsre_has_no_old_object_and_may_be_scored_in_pieces(tmp_path):
    edit = Request(3, "Ada", "Who taught {}?", "De Morgan", NO_TRUE_OBJECT, ("Ada's teacher?",),
                   (Neighbor("what is a pie?", None, "a dish"),))  # fmt: skip
    frame = scores([edit])
    piece = frame[(frame["kind"] == "neighbor")].assign(index=1)
    empty = piece.assign(index=0, request=9, ranks=[[]] * len(piece))
    frame = pd.concat([frame, piece, empty])
    record = P.figure_qualitative([edit], [P.Stage("Unedited", frame)], tmp_path / "a.png")
    assert record["label"] == "Ada: De Morgan"
    assert [group["n"] for group in record["groups"]] == [1, 1, 1]


def test_bad_input_is_named(tmp_path):
    some = [request(1), request(2)]
    found = stages(some, [])
    with pytest.raises(ValueError, match="request 5 is not among the 2 requests"):
        P.figure_qualitative(some, found, tmp_path / "a.png", request=5)
    found.append(P.Stage("other", scores([request(1)])))
    with pytest.raises(ValueError, match="stage 2 have prompts .* of request 2"):
        P.figure_qualitative(some, found, tmp_path / "a.png", request=2)
    assert not list(tmp_path.iterdir())


odd = st.text(min_size=1, max_size=40).filter(lambda text: text.strip() and "{}" not in text)


@settings(deadline=None, max_examples=6, phases=[Phase.generate])
@given(odd, st.lists(odd, min_size=1, max_size=3), st.integers(1, 4), st.floats(0, 1))
def test_any_words_stay_in_their_place(word, tokens, n_stages, p):
    town = Neighbor(f"{word} of", None, word)
    edit = Request(
        id=1,
        subject="Subject",
        prompt="{} " + "word " * 40 + word,
        target_new=word,
        target_true=word * 2,
        paraphrases=(word * 9,),
        neighbors=(town, Neighbor("x", None, "y")),
    )
    frame = scores([edit])
    frame["top"] = [[tokens[i % len(tokens)]] * 5 for i in range(len(frame))]
    frame["top_logprobs"] = [[math.log(p) if p else math.nan] * 5] * len(frame)
    answers = P._of(edit, [P._answers(frame)] * n_stages)
    record = P.Panel(
        request=1,
        why="any",
        label=f"{word}: {word}",
        stages=["NAP9_MEMIT\nafter one iteration"] * n_stages,
        groups=[P._group(edit, answers, kind) for kind in P.GROUPS],
    )
    with matplotlib.style.context(STYLE):
        figure = P._draw_panel(record, title=word, note=word * 3)
        figure.set_dpi(300)  # as it is saved; on a coarser grid letters are wider
        figure.draw_without_rendering()
        texts = [t for t in figure.axes[0].texts if t.get_text().strip()]
        boxes = [(t.get_text(), t.get_window_extent().expanded(0.98, 0.7)) for t in texts]
    for i, (text, box) in enumerate(boxes):
        assert 0 <= box.x0 and box.x1 <= figure.bbox.x1, text
        assert 0 <= box.y0 and box.y1 <= figure.bbox.y1, text
        assert not [other for other, b in boxes[i + 1 :] if box.overlaps(b)], text


def test_the_same_scores_give_the_same_bytes(tmp_path):
    some = [request(1), request(2)]
    for name in ("one", "two"):
        P.figure_qualitative(some, stages(some, [], []), tmp_path / f"{name}.png")
    for ending in ("png", "pdf", "json"):
        first, second = ((tmp_path / f"{name}.{ending}").read_bytes() for name in ("one", "two"))
        assert first == second


# ---- files


def metrics_of(method, dp, model="tiny", trial=1):
    rows = [
        dict.fromkeys(COLUMNS, 0.5)
        | {"dataset": "geography", "model": model, "method": method, "trial": trial}
        | {"k": k, "n_requests": 2, "dp": value}
        for k, value in enumerate((math.nan, *dp))
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def chain(tmp_path):
    """Scores on disk: of k = 1, 2, 3, and empty ones after that."""
    some = [request(1), request(2)]
    paths = []
    for k in range(1, 6):
        frame = scores(some, [(2, "edit", 0), (2, "neighbor", 0)] if k == 1 else [])
        paths.append(tmp_path / f"iter{k}.parquet")
        (frame if k < 4 else frame.iloc[:0]).to_parquet(paths[-1])
    return some, paths


@pytest.mark.parametrize(
    ("dp", "headings"),
    [
        ((9.0, 2.0, 0.4), ["M\nafter one iteration", "M\nk = 3, stop"]),
        ((9.0, 2.0, 4.0), ["M\nafter one iteration", "M\nk = 3, rule not met"]),
        ((0.4, 0.3), ["M\nk = 1, stop"]),
        ((7.0,), ["M\nk = 1, rule not met"]),
    ],
)
def test_a_run_is_shown_after_one_iteration_and_at_its_stop(chain, dp, headings):
    _, paths = chain
    metrics = pd.concat([metrics_of("M", dp), metrics_of("M", [0.1], trial=2)])
    found = P.run_stages(metrics, RunKey("geography", "tiny", "M", 1), paths, Rule("trial"))
    assert [stage.heading for stage in found] == headings
    assert all(not stage.scores.empty for stage in found)


@pytest.mark.parametrize(("trial", "k"), [(1, 2), (2, 3)])
def test_under_mean_a_run_is_shown_where_its_trials_stop_together(chain, trial, k):
    """At the stop of the means, k = 3, trial 1 takes part with its last iteration."""
    _, paths = chain
    gaps = {1: (9.0, 0.1), 2: (9.0, 8.0, 0.9)}
    metrics = pd.concat(
        metrics_of("M", dp, trial=t).assign(p_bar=1.0, p_hat=[1.0, *(1.0 + d for d in dp)])
        for t, dp in gaps.items()
    )
    found = P.run_stages(metrics, RunKey("geography", "tiny", "M", trial), paths, Rule("mean"))
    assert found[-1].heading == f"M\nk = {k}, stop"


def test_metrics_of_another_run_are_refused(chain):
    _, paths = chain
    metrics = metrics_of("M", (9.0, 2.0, 0.4))
    with pytest.raises(ValueError, match="geography/tiny/N/1"):
        P.run_stages(metrics, RunKey("geography", "tiny", "N", 1), paths, Rule("trial"))
    with pytest.raises(ValueError, match="up to k = 3, its scores to k = 2"):
        P.run_stages(metrics, RunKey("geography", "tiny", "M", 1), paths[:2], Rule("trial"))


def test_older_scores_name_the_file_and_the_way_out(tmp_path):
    path = tmp_path / "scores.parquet"
    scores([request()]).drop(columns=["top", "top_logprobs"]).to_parquet(path)
    with pytest.raises(ValueError, match=r"scores\.parquet: missing columns \['top',.*delete"):
        P.read_answers(path)


@pytest.mark.parametrize("assisted", [True, False])
def test_the_script_draws_what_the_rule_gives_it(tmp_path, chain, assisted):
    some, paths = chain
    unedited = tmp_path / "unedited.parquet"
    scores(some, every(some, "edit")).to_parquet(unedited)
    table = tmp_path / "metrics.csv"
    both = [metrics_of("MEMIT", (9.0, 2.0, 0.4)), metrics_of("NA_MEMIT", (4.0, 0.3))]
    pd.concat(both).to_csv(table, index=False)
    write_requests(tmp_path / "requests.jsonl", some)
    figure = tmp_path / "out" / "panel.png"
    snakemake = script_job(
        str(tmp_path / "log.txt"),
        input={
            "requests": str(tmp_path / "requests.jsonl"),
            "unedited": str(unedited),
            "plain": [str(path) for path in paths],
            "neighbor": [str(path) for path in paths] if assisted else [],
            "metrics": str(table),
        },
        output={"figure": str(figure)},
        params={
            "neighbor": "NA_MEMIT",
            "titles": {"tiny": "Tiny"},
            "small": ["Tiny"],
            "epsilon": 1.0,
            "stop_row": "trial",
        },
        wildcards={"dataset": "geography", "model": "tiny", "algorithm": "MEMIT"},
    )
    runpy.run_path("scripts/draw_panel.py", {"snakemake": snakemake}, "__main__")
    record = json.loads(figure.with_suffix(".json").read_text(encoding="utf-8"))
    last = ["NA_MEMIT\nk = 2, stop"] if assisted else []
    assert record["stages"][1:] == ["MEMIT\nafter one iteration", "MEMIT\nk = 3, stop", *last]
    assert record["request"] == 2 and "UnderEdit and OverEdit" in record["why"]
    assert figure.exists() and figure.with_suffix(".pdf").exists()
    assert "request 2" in (tmp_path / "log.txt").read_text(encoding="utf-8")
