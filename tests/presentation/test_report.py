"""The report: everything is in it, nothing breaks out of it, and what is missing is said."""

import base64
import hashlib
import json
import math
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeledit.data.requests import NO_TRUE_OBJECT, Neighbor, Request, write_requests
from modeledit.evaluation.metrics import request_metrics
from modeledit.io.frames import read_csv
from modeledit.paper import comparison
from modeledit.presentation import report as R
from modeledit.presentation import single_edits as D
from modeledit.study.layout import RunKey
from modeledit.study.stopping import Rule
from tests.made_up import HOSTILE, ITERATIONS, METHODS, NEW, OLD, SUBJECTS, TRIALS, make_results
from tests.presets import CORRECTED
from tests.tables import edits_of

SWITCHES = CORRECTED


class Page(HTMLParser):
    """What a browser would find: ids, headings, scripts, references, and all visible text."""

    def __init__(self, text: str):
        super().__init__()
        self.ids: list[str] = []
        self.elements: list[str] = []
        self.references: list[str] = []
        self.scripts: list[tuple[dict, str]] = []
        self.policy = self.text = ""
        self._script: dict | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.elements.append(tag)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.references += [attributes[name] for name in ("src", "href") if name in attributes]
        if attributes.get("http-equiv") == "Content-Security-Policy":
            self.policy = attributes["content"]
        if tag == "script":
            self._script = attributes
            self.scripts.append((attributes, ""))

    def handle_endtag(self, tag):
        self._script = None if tag == "script" else self._script

    def handle_data(self, data):
        if self._script is None:
            self.text += data
        else:
            self.scripts[-1] = (self._script, self.scripts[-1][1] + data)

    def json(self, name: str):
        return next(
            json.loads(text) for attributes, text in self.scripts if attributes.get("id") == name
        )


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return make_results(tmp_path_factory.mktemp("report") / "made-up")


@pytest.fixture(scope="module")
def html(sources):
    return R.render(sources)


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


# ---- The page


def test_sections_come_in_order_and_each_id_once(page):
    sections = [name for name in R.SECTIONS if name not in ("sequences", "behavior")]
    assert [name for name in page.ids if name in R.SECTIONS] == sections
    assert len(page.ids) == len(set(page.ids))
    for link in page.references:
        if link.startswith("#"):
            assert link[1:] in page.ids


def test_nothing_is_outside_the_file(page):
    kinds = ("#", "data:image/png;base64,", "data:text/csv;base64,", "data:,")
    assert page.references and all(link.startswith(kinds) for link in page.references)
    assert not {"iframe", "object", "embed", "base"} & set(page.elements)
    assert page.elements.count("link") == 1  # the empty icon
    assert page.policy.startswith("default-src 'none'; img-src data:;")


def test_what_every_report_carries_leaves_room_for_a_study(sources):
    empty = R.render(R.Sources(config=sources.config))
    assert len(empty.encode()) < 1.2e6  # of the 3 MB that the default run's page may have


def test_only_the_script_of_the_page_may_run(page):
    running = [text for attributes, text in page.scripts if "type" not in attributes]
    assert len(running) == len(R.LIBRARIES) + 1
    digests = [base64.b64encode(hashlib.sha256(one.encode()).digest()) for one in running]
    allowed = " ".join(f"'sha256-{digest.decode()}'" for digest in digests)
    assert f"script-src {allowed};" in page.policy


def test_hostile_texts_stay_texts(page, sources):
    data = [json.loads(text) for attributes, text in page.scripts if "type" in attributes]
    # the first figure, lists, index and rows, runs, facts
    assert len(data) == 1 + 5 + 2 + len(sources.runs) + len(TRIALS)
    facts = page.json("facts-0")
    assert [facts["texts"][facts["requests"][str(i)][0]] for i in range(6)] == list(SUBJECTS)
    assert HOSTILE in facts["tokens"]
    assert any(HOSTILE in row for row in page.json("list-comparison")["rows"])
    assert page.text.count(HOSTILE) == 3  # two claims and a caption
    assert "b" in page.elements and "Ulm" not in page.text


def test_tables_figures_and_claims_are_in_it(page, sources):
    assert "tab-iterative" in page.ids
    images = [link for link in page.references if link.startswith("data:image")]
    wanted = [base64.b64encode(path.read_bytes()).decode() for path in sources.figures]
    assert [image.split(",")[1] for image in images] == [wanted[-1], *wanted[:-1]]
    assert "MEMIT on Tiny <1M>, places (eligible)" in page.text
    assert "Of 6 planned runs 4 were done" in " ".join(page.text.split())
    assert "1 planned" not in page.text and "2 planned runs not run" in page.text
    assert "Measured on Tiny <1M>; not comparable" in page.text
    assert {"claim-C1", "claim-C2"} <= set(page.ids)
    csv = next(link for link in page.references if link.startswith("data:text/csv"))
    assert base64.b64decode(csv.split(",")[1]) == sources.tables[0].with_suffix(".csv").read_bytes()


def test_the_same_files_give_the_same_bytes(sources, html):
    assert R.render(sources) == html


def test_what_was_not_made_is_said(sources):
    page = Page(R.render(R.Sources(config=sources.config)))
    sections = [name for name in R.SECTIONS if name not in ("sequences", "behavior")]
    assert [name for name in page.ids if name in R.SECTIONS] == sections
    # Tables, figures, claims, comparison, intervals, differences, edits, provenance, hardware.
    assert page.text.count("Not run: ") == 9
    assert "6 planned runs not run" in page.text
    assert all(attributes == {} for attributes, _ in page.scripts)


@pytest.mark.parametrize(
    "name",
    ["metrics", "claims", "comparison", "intervals", "differences", "hardware", "provenance"],
)
def test_each_optional_file_can_be_missing(sources, name):
    page = Page(R.render(replace(sources, **{name: None})))
    assert page.text.count("Not run: ") == (name != "metrics")
    assert "list-comparison" in page.ids or name == "comparison"


def test_lists_without_rows(sources, tmp_path):
    empty = {}
    for name in ("comparison", "intervals", "differences", "hardware", "claims"):
        path = getattr(sources, name)
        empty[name] = tmp_path / path.name
        empty[name].write_text(path.read_text(encoding="utf-8").splitlines()[0] + "\n")
    page = Page(R.render(replace(sources, **empty)))
    assert page.json("list-intervals")["rows"] == []
    assert page.text.count("Not run: ") == 1  # the jobs


def test_a_partial_study_says_so(sources, page, tmp_path):
    whole = R.yaml.safe_load(sources.config.read_text(encoding="utf-8"))
    whole["config"]["partial"] = True
    path = tmp_path / "config.yaml"
    path.write_text(R.yaml.safe_dump(whole), encoding="utf-8")
    assert "may still be running" in Page(R.render(replace(sources, config=path))).text
    assert "may still be running" not in page.text


def test_why_there_is_no_pdf_is_said(sources, tmp_path):
    for status, said in (
        ("failed: pdflatex: no <font>\n", True),
        ("compiled: tables.pdf\n", False),
    ):
        path = tmp_path / "compiled.txt"
        path.write_text(status)
        page = Page(R.render(replace(sources, compiled=path)))
        assert ("There is no tables.pdf: failed: pdflatex: no <font>" in page.text) == said


def test_a_figure_without_a_record_is_shown(sources, tmp_path):
    path = tmp_path / "my.figure.png"
    path.write_bytes(sources.figures[0].read_bytes())
    page = Page(R.render(replace(sources, figures=[path])))
    assert "my.figure." in page.text


# ---- Parts of the page


def test_runs_planned_and_done(sources):
    methods = (*METHODS, "PMET")
    planned = [RunKey("places-eligible", "tiny", m, t) for m in methods for t in TRIALS]
    metrics = R.read_metrics(sources.metrics)
    rows = R.run_rows(planned, metrics, Rule("trial"))
    names = [(row.method, row.trial) for row in rows]
    assert names == [(method, trial) for method in methods for trial in TRIALS]
    assert [row.done for row in rows] == [2] * 4 + [0] * 2
    assert rows[0].proposed == rows[0].k == 2 and rows[0].dp == pytest.approx(0.5)
    assert rows[0].collapsed is False and rows[-1].k is None
    # never met: the last iteration stands in
    row = R.run_rows(planned, metrics, Rule("trial", 0.1))[0]
    assert (row.proposed, row.k, row.dp) == (None, 2, pytest.approx(0.5))
    assert R.run_rows(planned, None, Rule("trial"))[0].done == 0


def test_lists_are_in_percent_and_without_nan(sources):
    found = R.listing(read_csv(sources.intervals))
    rows = [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]]
    assert [row["mean"] for row in rows] == [50.0, 0.5]
    assert [row["metric"] for row in rows] == ["efficacy accuracy", "dp"]
    cells = R.listing(read_csv(sources.comparison))
    first = dict(zip(cells["columns"], cells["rows"][1], strict=True))
    assert first["ours"] == pytest.approx(25.1) and first["difference"] is None
    json.dumps(cells, allow_nan=False)


def test_infinite_and_missing_values_of_a_list(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("metric,mean,model,flag\ndp,inf,NA,True\neff_acc,,x,False\n")
    assert R.listing(read_csv(path))["rows"] == [
        ["dp", "inf", "NA", True],
        ["efficacy accuracy", None, "x", False],
    ]


def test_verdicts_have_their_tones(html):
    assert '<span class="badge good">match</span>' in html
    assert '<span class="badge fair">holds in part</span>' in html
    assert '<span class="badge bad">does not hold</span>' in html
    assert '<span class="badge ">not comparable</span>' in html
    assert set(R.TONES) < {*comparison.VERDICTS, "holds", "holds in part", "does not hold"}


def test_captions_follow_the_records():
    stages = {"figure": "perplexity_stages", "label": "Lyon", "met": False, "scale": "log"}
    text = R.caption(stages | {"epsilon": 1.0})
    assert text.startswith("Lyon: ") and "did not suffice" in text and "logarithmic" in text
    text = R.caption({"figure": "underedit", "n_all": 22, "n_underedit": 0})
    assert "all 22 edits; iteration 1 missed none" in text
    text = R.caption({"figure": "stages", "algorithm": "PMET"})
    assert text.startswith("PMET with both stages repeated, with SPREAD alone")
    text = R.caption({"figure": "neighbor_count", "algorithm": "MEMIT", "n_neighbors": [0, 1, 4]})
    assert "MEMIT with 0, 1, 4 neighbors" in text
    assert "Figure 1" in R.caption({"figure": "qualitative", "label": "Lyon"})
    assert "Figure 2" in R.caption({"figure": "algorithms"})
    assert R.caption({"figure": "of tomorrow"}) == R.caption({}) == ""


# ---- Single edits


@pytest.fixture(scope="module")
def drill(sources):
    stops = {run.key: 2 for run in sources.runs}
    return D.build(sources.runs, SWITCHES, stops)


def test_runs_of_a_trial_share_their_facts(drill):
    index, blocks = drill.runs, drill.blocks
    assert [entry["facts"] for entry in index] == ["facts-0", "facts-0", "facts-1", "facts-1"]
    assert len(blocks) == len(index) + len(TRIALS)
    for entry in index:
        assert entry["stages"] == [1, 2] and entry["iterations"] == [1, 2] and entry["met"]
        assert entry["n_neighbors"] == (entry["method"] == "NA_MEMIT")
        assert entry["neighbor_contexts"] == (["{}"] if entry["method"] == "NA_MEMIT" else [])


def test_an_edit_says_what_happened(drill):
    index, blocks = drill.runs, drill.blocks
    entry = index[1]
    facts, run = blocks[entry["facts"]], blocks[entry["block"]]
    text = facts["texts"]
    subject, prompt, new, old, paraphrases, neighbors, editing = facts["requests"]["1"]
    assert (text[subject], text[prompt]) == (HOSTILE, f"{HOSTILE} lies in")
    assert (text[new], text[old], len(paraphrases)) == ("Japan", "France", 2)
    assert [text[a] for a, _ in neighbors] == ["Place 1.0 lies in", "Place 1.1 lies in"]
    assert [[text[a], text[b]] for a, b in editing] == [["Place 1.2 lies in", "France"]]
    edit = run["edits"]["1"]
    assert edit["flags"] == [1, 0, 0, 1, 0]  # learned at k = 2: missed by the first, and cured
    assert [line[0] for line in edit["log"]] == [19, 18]
    assert [run["reasons"][line[1]] for line in edit["log"]] == ["max_steps", "loss"]
    assert [line[2:] for line in edit["log"]] == [[0.04, 11, 1.02, 51.02], [0.08, 1.1, 1.02, 1.52]]
    before, first, second = facts["before"]["1"], *edit["cells"]
    assert [len(cells) for cells in (before, first, second)] == [5, 5, 5]
    assert before[0][:6] == [0, 0, 9, 1, -4.605, -0.3567]
    assert before[3][:2] == [None, 1] and first[3][:2] == [1, 1]  # neighbors
    assert second[0][:6] == [1, 1, 1, 2, -0.1054, -2.996]
    top = second[0][6:]
    assert [run["tokens"][i] for i in top[::2]] == [" Japan", " France", " ", "\n", HOSTILE]
    assert top[1::2] == [9000, 500, 300, 100, 0]
    assert run["edits"]["4"]["log"][0][3] == "inf"
    assert run["edits"]["3"]["flags"] == [0, 1, 0, 0, 0]  # a neighbor is broken
    assert run["edits"]["3"]["cells"][1][3][:2] == [0, 0]


def test_a_rule_that_was_never_met(sources):
    index = D.build(sources.runs[:1], SWITCHES, {sources.runs[0].key: None}).runs
    assert (index[0]["stop"], index[0]["met"], index[0]["stages"]) == (2, False, [1, 2])


def test_a_stop_after_the_first_iteration_is_one_stage(sources):
    found = D.build(sources.runs, SWITCHES, {run.key: 1 for run in sources.runs})
    assert found.runs[0]["stages"] == [1]
    assert len(found.blocks["run-0"]["edits"]["0"]["cells"]) == 1


def test_scores_without_top_tokens(tmp_path):
    sources = make_results(tmp_path / "old", top=False)
    page = Page(R.render(sources))
    facts, run = page.json("facts-0"), page.json("run-0")
    assert facts["has_top"] is False and facts["tokens"] == run["tokens"] == []
    assert facts["before"]["0"][0] == [0, 0, None, None, -4.605, -0.3567]


def test_some_edits_are_left_out_and_it_is_said(sources):
    page = Page(R.render(sources, max_edits=2))
    text = " ".join(page.text.split())
    assert "This page holds 8 of the 24 edits of 4 runs, at most 2 of each" in text
    assert page.json("drill-index")[0]["counts"] == {
        "all": [2, 6],
        "cured": [2, 2],
        "broken": [0, 2],
        "prevented": [0, 0],
        "underedit": [2, 4],
        "wrong": [0, 2],
    }
    # Requests 1 and 4 are learned at k = 2: UnderEdit that iterating cured.
    assert list(page.json("run-0")["edits"]) == list(page.json("facts-0")["requests"]) == ["1", "4"]
    with pytest.raises(ValueError, match="max_edits = 0"):
        R.render(sources, max_edits=0)


def random_scores(seed, own=False):
    """Scores of four requests with objects of one to three tokens."""
    rng = np.random.default_rng(seed)
    rows = []
    for request in range(4):
        for kind, count in (("edit", 1), ("paraphrase", 2), ("neighbor", 3)):
            for index in range(count):
                for name in ("new", "true", *(["own"] if own and kind == "neighbor" else [])):
                    size = rng.integers(1, 4)
                    row = {"request": request, "kind": kind, "index": index, "object": name}
                    row["token_ids"] = rng.integers(0, 2, size).tolist()
                    row["argmax"] = rng.integers(0, 2, size).tolist()
                    row["logprobs"] = (-rng.exponential(1, size)).tolist()
                    rows.append(row | {"ranks": rng.integers(1, 99, size).tolist()})
    return pd.DataFrame(rows)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("accuracy", ["exact", "token"])
@pytest.mark.parametrize("success", ["sum", "mean"])
def test_cells_say_what_the_metrics_say(own, accuracy, success):
    before, now = random_scores(1, own), random_scores(2, own)
    switches = replace(CORRECTED, accuracy=accuracy, success=success)
    found = D.cells(now, before, switches, D.Numbering())
    wanted = request_metrics(now, before, accuracy, success).set_index("request")
    assert list(found) == ["0", "1", "2", "3"]
    for request, cells in found.items():
        parts = {"eff": cells[:1], "gen": cells[1:3], "spec": cells[3:]}
        assert len(cells) == 6
        for name, part in parts.items():
            for i, what in enumerate(("acc", "succ")):
                mean = np.mean([cell[i] for cell in part])
                assert mean == pytest.approx(wanted.loc[int(request), f"{name}_{what}"], abs=1e-3)
    first = now[(now["request"] == 0) & (now["kind"] == "edit")].set_index("object")
    ranks = [first.loc[name, "ranks"] for name in ("new", "true")]
    assert found["0"][0][2:4] == [r[0] if len(r) == 1 else r for r in ranks]
    assert found["0"][0][4] == pytest.approx(sum(first.loc["new", "logprobs"]), rel=1e-3)
    neighbor = now[(now["request"] == 0) & (now["kind"] == "neighbor") & (now["index"] == 0)]
    old = neighbor.set_index("object").loc["own" if own else "true", "logprobs"]
    assert found["0"][3][5] == pytest.approx(sum(old), rel=1e-3)


def test_an_answer_without_tokens_has_neither_rank_nor_probability():
    now = random_scores(2, own=True)
    empty = (now["object"] == "own") & (now["request"] == 0) & (now["index"] == 1)
    for name in ("token_ids", "argmax", "logprobs", "ranks"):
        now.loc[empty, name] = now.loc[empty, name].map(lambda _: [])
    switches = replace(CORRECTED, accuracy="token", success="mean")
    found = D.cells(now, random_scores(1), switches, D.Numbering())
    right, prefers, _, rank, _, log_p = found["0"][4]
    assert (right, prefers, rank, log_p) == (0, 0, [], None)


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_numbers_are_json_and_close(value):
    found = D.number(value)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    if math.isfinite(value):
        assert found == pytest.approx(value, rel=1e-3, abs=0)
    else:
        assert found in (None, "inf", "-inf")


def test_pieces_of_a_zsre_answer_are_named(tmp_path):
    whole = Neighbor("where is it?", None, "in France")
    one = Request(3, "Lyon", "What is {}?", "Japan", NO_TRUE_OBJECT, neighbors=(whole,))
    write_requests(tmp_path / "requests.jsonl", [one])
    rows = [{"request": 3, "kind": "edit", "index": 0}]
    rows += [{"request": 3, "kind": "neighbor", "index": j} for j in range(2)]
    scores = pd.DataFrame(
        row | {"object": name, "token_ids": [ids], "logprobs": [-1.0], "argmax": [OLD]}
        for row in rows
        for name, ids in (("new", NEW), ("true", OLD))
    )
    path = tmp_path / "MEMIT" / "trial1"
    for name, frame in {
        "unedited.parquet": scores,
        "iter1/scores.parquet": scores,
        "iter1/edits.parquet": edits_of([3]),
        "request_metrics.parquet": request_metrics(scores, scores, "exact", "sum").assign(k=1),
    }.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        frame.to_parquet(path / name)
    (tmp_path / "contexts.json").write_text(json.dumps({"templates": {"10x1": ["{}"]}}))
    files = [tmp_path / name for name in ("requests.jsonl", "contexts.json")]
    run = D.RunFiles(path / "request_metrics.parquet", *files, path / "unedited.parquet")
    facts = D.build([run], replace(SWITCHES, zsre_locality="pieces"), {}).blocks["facts-0"]
    texts = [facts["texts"][where] for where, _ in facts["requests"]["3"][5]]
    assert texts == ["where is it? [token 1]", "where is it? [token 2]"]
    assert len(facts["before"]["3"]) == 3


def test_a_request_that_the_trial_does_not_have_is_named(sources, tmp_path):
    (tmp_path / "few.jsonl").write_text("")
    run = replace(sources.runs[0], requests=tmp_path / "few.jsonl")
    with pytest.raises(ValueError, match=r"few\.jsonl: no request 0"):
        D.build([run], SWITCHES, {})


def test_a_passed_on_iteration_is_no_stage(sources):
    frame = pd.read_parquet(sources.runs[0].folder / f"iter{ITERATIONS}" / "scores.parquet")
    assert frame.empty
    index = D.build(sources.runs, SWITCHES, {}).runs
    assert all(ITERATIONS not in entry["stages"] for entry in index)
