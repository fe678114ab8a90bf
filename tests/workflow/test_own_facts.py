"""`snakemake own_facts`: from a file of facts to the page, on a tiny model; what is refused."""

import json
import shutil
from dataclasses import dataclass

import pandas as pd
import pytest
from transformers import AutoModelForCausalLM

from tests.workflow.conftest import Project
from tests.workflow.test_plan import job_counts
from tests.workflow.tiny_study import MODEL, NEW, PLACES, SAID, tiny_project

pytestmark = pytest.mark.xdist_group("own_facts")

FORM = "{} is a city in"
OUT = "results/mine"
PREPARED = {"prepare_model", "make_contexts", "gather_covariance", "choose_panel"}


def options(**facts):
    given = ", ".join(f"{name}: {value}" for name, value in facts.items())
    return ("own_facts", "--configfile", "config/mine.yaml", "--config", f"facts={{{given}}}")


def test_the_example_is_planned_as_it_stands(untouched):
    done = untouched.snakemake("own_facts", "--configfile", "config/mine.yaml", "--dry-run")
    assert done.returncode == 0, done.stdout
    counts = job_counts(done.stdout)
    assert counts["show_own_facts"] == counts["ask_panel"] == 1
    assert all(counts[rule] == 1 for rule in PREPARED)
    assert not {"evaluate_run", "render_report", "export_model"} & counts.keys()


def test_a_file_can_be_named_alone(untouched):
    facts = ("--config", "facts=config/my_facts.csv")
    done = untouched.snakemake("own_facts", "--dry-run", "--configfile", "config/mine.yaml", *facts)
    assert done.returncode == 0, done.stdout
    assert "MEMIT iteration 1 on facts-eligible, smollm2-135m" in done.stdout


def test_a_bad_file_is_refused_before_anything_runs(untouched, tmp_path):
    path = tmp_path / "facts.csv"
    path.write_text(
        "prompt,subject,new_object,old_object\n"
        "The capital of France is,Germany,Rome,Paris\n"
        "The capital of Japan is,Japan,,Tokyo\n"
    )
    done = untouched.snakemake(*options(path=path))
    assert done.returncode == 1
    assert f"{path}: 2 of 2 records cannot be used" in done.stdout
    assert "line 2: field 'prompt'" in done.stdout and "'Germany'" in done.stdout
    assert "line 3: field 'new_object': missing; add it" in done.stdout
    assert "Traceback" not in done.stdout and "Job stats" not in done.stdout


def test_a_file_that_is_not_there_is_named(untouched):
    done = untouched.snakemake(*options(path="no.csv", method="MAGIC"))
    assert done.returncode == 1
    assert "'no.csv': no such file" in done.stdout and "'MAGIC'" in done.stdout


@dataclass
class Edited:
    """A project in which facts were edited, and what the run printed."""

    project: Project
    printed: str


def records(neighbors):
    """Facts about places; the tiny model says SAID of most of them."""
    return [
        {
            "prompt": FORM.format(place),
            "subject": place,
            "new_object": NEW[number],
            **({"old_object": SAID, "paraphrases": f"People like {place} in"} if number else {}),
            "neighbors": [FORM.format(other) for other in PLACES[3:]] if neighbors else [],
            "neighbor_objects": [SAID] * len(PLACES[3:]) if neighbors else [],
        }
        for number, place in enumerate(PLACES[:3])
    ]


def write(project, name, facts):
    (project.folder / "tmp" / name).write_text("".join(f"{json.dumps(f)}\n" for f in facts))


@pytest.fixture(scope="module")
def edited(tmp_path_factory):
    """Three facts with neighbors, on a tiny model, exported."""
    project = tiny_project(tmp_path_factory.mktemp("own_facts"))
    write(project, "mine.jsonl", records(neighbors=True))
    write(project, "others.jsonl", records(neighbors=False)[1:])
    small = project.folder / "tmp/small.yaml"
    small.write_text(
        "text: {covariance_articles: 4, covariance_length: 256, perplexity_texts: 5}\n"
        "stop: {epsilon: 1.0e-6, iterations: 2, extended: 2}\n"
    )
    done = run(project, path="tmp/mine.jsonl", export="tmp/exported")
    assert done.returncode == 0, done.stdout[-5000:]
    return Edited(project, done.stdout)


def run(project, **facts):
    target, flag, file, *rest = options(model=MODEL, **facts)
    return project.snakemake(target, flag, file, "tmp/small.yaml", *rest)


@pytest.mark.slow
def test_every_prompt_is_there_before_and_after_each_iteration(edited):
    numbers = pd.read_csv(edited.project.folder / OUT / "facts.csv")
    assert set(numbers["k"]) == {0, 1, 2}
    counts = numbers[numbers["k"] == 2]["kind"].value_counts()
    assert counts["edit"] == 3 and counts["paraphrase"] == 2 and counts["neighbor"] >= 3
    edits = numbers[numbers["kind"] == "edit"].set_index(["prompt", "k"])
    for place, new in zip(PLACES[:3], NEW, strict=False):
        row = edits.loc[(FORM.format(place), 0)]
        assert row["new_object"] == new and row["says"]
    # Nothing was made up where no old object was given.
    first = numbers[numbers["prompt"] == FORM.format(PLACES[0])]
    assert first["old_object"].isna().all() and first["p_old"].isna().all()
    assert numbers[numbers["kind"] == "neighbor"]["p_old"].notna().all()
    # A neighbor that is kept is one that the unedited model knew.
    before = numbers[(numbers["kind"] == "neighbor") & (numbers["k"] == 0)]
    assert set(before["mark"]) == {"kept"}


@pytest.mark.slow
def test_page_and_table_say_what_was_done_and_what_was_not_given(edited):
    folder = edited.project.folder / OUT
    for name in ("facts.html", "facts.txt"):
        text = (folder / name).read_text("utf-8")
        assert "3 " in text and "The budget of 2 iterations ended" in text
        assert "No old object was given" in text and "No paraphrases were given" in text
        assert "Measured on tiny-gpt2" in text
    assert "Editing 3 facts of tmp/mine.jsonl" in edited.printed
    assert "Prepared first" in edited.printed and "a copy of the model" in edited.printed
    assert f"{OUT}/facts.html" in edited.printed


@pytest.mark.slow
def test_the_edited_model_was_exported(edited):
    folder = edited.project.folder / "tmp/exported"
    assert (edited.project.folder / OUT / "facts_export.txt").read_text().strip() == str(folder)
    AutoModelForCausalLM.from_pretrained(folder)


@pytest.mark.slow
def test_other_facts_prepare_nothing_again(edited):
    done = run(edited.project, path="tmp/others.jsonl")
    assert done.returncode == 0, done.stdout[-5000:]
    assert not PREPARED & job_counts(done.stdout).keys()
    text = (edited.project.folder / OUT / "facts.txt").read_text("utf-8")
    assert text.startswith("2 edited facts")
    assert "No neighbors were given" in text


@pytest.mark.slow
def test_a_method_with_neighbors_says_which_facts_lack_them(edited):
    done = run(edited.project, path="tmp/others.jsonl", method="NA_MEMIT")
    assert done.returncode == 1
    assert "2 of 2 facts have fewer than 2 neighbors" in done.stdout
    assert FORM.format(PLACES[1]) in done.stdout and "'neighbors'" in done.stdout
    assert "a method without NA_" in done.stdout
    # With neighbors that the model knows it goes.
    done = run(edited.project, path="tmp/mine.jsonl", method="NA_MEMIT")
    assert done.returncode == 0, done.stdout[-5000:]
    assert "NA_MEMIT on tiny-gpt2" in (edited.project.folder / OUT / "facts.txt").read_text("utf-8")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on the path")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1300, 420])
def test_the_page_opens_alone(edited, width, scheme):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    page = edited.project.folder / OUT / "facts.html"
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        tab, complaints = context.new_page(), []
        tab.on("console", lambda said: complaints.append(said.text))
        tab.on("request", lambda request: complaints.append(request.url))
        tab.goto(page.as_uri())
        assert [said for said in complaints if said != page.as_uri()] == []
        assert tab.locator("article").count() >= 2
        assert tab.locator(".mark").first.is_visible()
        assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        axe = pytest.importorskip("axe_playwright_python.sync_playwright")
        found = axe.Axe().run(tab).response["violations"]
        assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
        browser.close()
