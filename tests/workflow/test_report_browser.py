"""The report in a real browser, from file://: it opens quietly, loads nothing, and can be used."""

import shutil
from contextlib import contextmanager

import pytest

from modeledit.presentation.report import SECTIONS, Sources, render
from tests.made_up import HOSTILE, make_results

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("smoke"),
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path"),
]
SIZES = {"desktop": (1400, 900), "phone": (390, 800)}


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    path = folder / "report.html"
    path.write_text(render(make_results(folder / "results")), encoding="utf-8")
    return path


@contextmanager
def opened(browser, path, size="desktop", at="", **options):
    """The report in a fresh tab; whatever it complains about or asks for fails the test."""
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, **options)
    tab, complaints = context.new_page(), []
    tab.on("console", lambda said: complaints.append(f"console: {said.text}"))
    tab.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    tab.on(
        "dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss())
    )
    tab.on("request", lambda request: complaints.append(request.url))
    tab.goto(f"{path.as_uri()}{at}")
    yield tab
    wanted = [said for said in complaints if not said.startswith(("data:", path.as_uri()))]
    context.close()
    assert wanted == []


def texts(locator):
    return [" ".join(text.split()) for text in locator.all_inner_texts()]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_everything_is_shown(browser, report, size, scheme, tmp_path):
    with opened(browser, report, size, color_scheme=scheme) as tab:
        assert texts(tab.locator("main > section > h2")) == [
            title for name, title in SECTIONS.items() if name not in ("sequences", "behavior")
        ]
        images = tab.locator("#figures img")
        images.first.scroll_into_view_if_needed()
        widths = images.evaluate_all("all => all.map((i) => i.complete ? i.naturalWidth : 0)")
        assert len(widths) == 2 and all(width > 0 for width in widths)
        assert tab.locator("#tables figure.table tbody tr").count() == 3
        found = tab.locator("#findings .badge").all_inner_texts()
        assert found == ["holds", "does not hold", "holds in part"]
        assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        shot = tmp_path / f"{size}-{scheme}.png"
        tab.screenshot(path=shot, full_page=True)
        assert shot.stat().st_size > 10_000


def test_a_list_is_filtered(browser, report):
    with opened(browser, report) as tab:
        cells = tab.locator("#comparison .listing")
        rows, status = cells.locator("tbody tr"), cells.locator("[role=status]")
        assert rows.count() == 100 and status.inner_text() == "150 of 150, first 100 shown"
        cells.get_by_role("button", name="Show all").click()
        assert rows.count() == 150 and cells.get_by_role("button").is_hidden()
        cells.get_by_label("verdict").select_option(label="differs")
        assert rows.count() == 50 and set(texts(rows.locator(".badge"))) == {"differs"}
        cells.get_by_label("table").select_option(label="2")
        assert status.inner_text() == "25 of 150"
        cells.get_by_label("contains").fill("no such words")
        assert status.inner_text() == "0 of 150"


def test_an_edit_is_found_and_looked_at(browser, report):
    with opened(browser, report) as tab:
        edits, detail = tab.locator("#drill-list option"), tab.locator("#drill-edit")
        drill = tab.locator("#drill")
        assert edits.count() == 6
        drill.get_by_label("Run").select_option(label="NA_MEMIT, trial 2")
        drill.get_by_label("Show").select_option(label="UnderEdit after k = 1")
        assert [text.split()[0] for text in texts(edits)] == ["#1", "#2", "#4", "#5"]
        drill.get_by_label("Show").select_option(label="still wrong at the stop")
        assert [text.split()[0] for text in texts(edits)] == ["#2", "#5"]
        drill.get_by_label("Show").select_option(label="neighbors broken")
        assert [text.split()[0] for text in texts(edits)] == ["#0", "#3"]
        drill.get_by_label("Show").select_option(label="all edits")
        drill.get_by_label("Search").fill("SCRIPT")
        assert edits.count() == 1
        assert detail.locator("h3").inner_text() == f"#1 {HOSTILE}: France → Japan UnderEdit"
        assert detail.locator("mark").inner_text() == HOSTILE
        facts = texts(detail.locator(".facts dd"))
        assert facts[0] == f"{HOSTILE} lies in" and facts[2] == "France → Japan"
        assert facts[3] == "Place 1.2 lies in France"  # the neighbor in the loss
        steps = detail.locator(".history tbody tr")
        assert texts(steps)[0] == "1 19 all steps used 0.04 11 1.02 51.02"
        assert detail.locator(".history svg circle").count() == 5
        prompts = detail.locator(".prompt")
        assert prompts.count() == 5  # the edit, two paraphrases, two neighbors
        stages = prompts.first.locator(".stage")
        assert texts(stages.locator(".when")) == [
            "before editing",
            "after k = 1",
            "after k = 2, the stop",
        ]
        last = stages.last
        assert "✓ says o*" in last.inner_text() and "rank: o* 1, o 2" in last.inner_text()
        assert texts(last.locator(".top li"))[:2] == ["␣Japan 90.0%", "␣France 5.0%"]
        assert "✗ does not say o*" in stages.nth(1).inner_text()
        neighbor = prompts.last.locator(".stage")
        assert "same answer" not in neighbor.first.inner_text()
        assert "✓ same answer as before" in neighbor.last.inner_text()


def test_the_list_works_with_the_keyboard_and_its_address_leads_back(browser, report):
    with opened(browser, report) as tab:
        tab.locator("#drill-list").focus()
        for _ in range(3):
            tab.keyboard.press("ArrowDown")
        title = tab.locator("#drill-edit h3").inner_text()
        assert title.startswith("#3 Rio {de} Janeiro")
        tab.locator("#drill-run").select_option(label="NA_MEMIT, trial 1")
        assert tab.locator("#drill-edit h3").inner_text() == title  # the same edit, another method
        address = tab.evaluate("location.hash")
    with opened(browser, report, at=address) as tab:
        assert tab.locator("#drill-edit h3").inner_text() == title
        assert tab.locator("#drill-run option:checked").inner_text() == "NA_MEMIT, trial 1"
    for wrong in ("#edit/no/such/run/1/2", "#edit/%E0%A4%A"):
        with opened(browser, report, at=wrong) as tab:
            assert tab.locator("#drill-edit h3").inner_text().startswith("#0 Lyon")


def test_older_scores_and_an_empty_report_open_quietly(browser, tmp_path):
    sources = make_results(tmp_path / "old", top=False)
    path = tmp_path / "old.html"
    path.write_text(render(sources), encoding="utf-8")
    with opened(browser, path) as tab:
        detail = tab.locator("#drill-edit")
        assert "hold no likeliest tokens" in detail.inner_text()
        assert detail.locator(".stage").count() == 15 and detail.locator(".top").count() == 0
    path.write_text(render(Sources(config=sources.config)), encoding="utf-8")
    with opened(browser, path) as tab:
        assert tab.locator("p.missing").filter(has_text="Not run").count() == 9


def test_the_real_models_report_opens_and_shows_its_answers(browser, smoke):
    path = smoke.folder / "results/smoke/report.html"
    with opened(browser, path) as tab:
        widths = tab.locator("#figures img").evaluate_all("all => all.map((i) => i.naturalWidth)")
        assert len(widths) == 6 and all(width > 0 for width in widths)
        assert tab.locator("#tables figure.table").count() == 7
        assert tab.locator("#findings .badge").count() > 60
        assert tab.locator("#drill-list option").count() > 0
        detail = tab.locator("#drill-edit")
        assert "rank: o*" in detail.inner_text() and detail.locator("svg").count() > 0
