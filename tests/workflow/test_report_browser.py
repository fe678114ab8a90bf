"""The report in a real browser, from file://: it opens quietly, loads nothing, and can be used."""

import json
import re
import shutil
from contextlib import contextmanager

import pytest

from modeledit.presentation.report import SECTIONS, Sources, render
from tests.made_up import HOSTILE, make_results

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
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
            title
            for name, title in SECTIONS.items()
            if name not in ("overview", "sequences", "behavior")
        ]
        images = tab.locator("#figures img")
        images.first.scroll_into_view_if_needed()
        widths = images.evaluate_all("all => all.map((i) => i.complete ? i.naturalWidth : 0)")
        assert len(widths) == 2 and all(width > 0 for width in widths)
        assert tab.locator("#tables figure.table tbody tr").count() == 3
        found = tab.locator("#claims .badge").all_inner_texts()
        assert found == ["holds", "does not hold", "holds in part"]
        assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        shot = tmp_path / f"{size}-{scheme}.png"
        tab.screenshot(path=shot, full_page=True)
        assert shot.stat().st_size > 10_000


def test_the_first_screen_has_the_figure_and_what_it_says(browser, report):
    with opened(browser, report) as tab:
        charts = tab.locator("#trajectories .panels svg")
        assert [chart.get_attribute("aria-label") for chart in charts.all()] == [
            "efficacy", "generalization", "specificity", "score", "|Δp|",
        ]  # fmt: skip
        # Two methods of two iterations, each with a ring at its stop.
        assert charts.first.locator("path[d]").count() >= 2 * 2 + 2
        assert "MEMIT at k = 2, NA_MEMIT at k = 2" in tab.locator("#trajectories .key").inner_text()
        tab.locator("#trajectories summary").click()
        cells = texts(tab.locator("#trajectories tbody tr").first.locator("td"))
        assert cells[:3] == ["MEMIT", "1", "33.33"]
        said = tab.locator("#overview .findings li")
        assert said.first.inner_text().startswith("Iterating. From the first iteration to the stop")
        assert "1 holds in part" in said.first.inner_text()
        assert said.last.bounding_box()["y"] < SIZES["desktop"][1]


def test_claims_open_to_their_evidence(browser, report):
    with opened(browser, report) as tab:
        claim = tab.locator("#claim-C1")
        evidence = claim.get_by_text("Section 5.1 of the paper.")
        assert not evidence.is_visible()
        claim.locator("summary").press("Enter")
        assert evidence.is_visible()


def test_a_list_is_filtered_and_sorted(browser, report):
    with opened(browser, report) as tab:
        cells = tab.locator("#comparison .listing").first
        cells.scroll_into_view_if_needed()
        rows, status = cells.locator(".tabulator-row"), cells.locator("[role=status]")
        rows.first.wait_for()
        assert status.inner_text() == "100 of 100" and 5 < rows.count() < 60
        cells.get_by_label("verdict").select_option(label="differs")
        assert status.inner_text() == "50 of 100"
        assert set(texts(rows.locator(".badge"))) == {"differs"}
        cells.get_by_label("table").select_option(label="2")
        assert status.inner_text() == "25 of 100"
        ours = rows.first.locator(".tabulator-cell[tabulator-field='8']")
        low = ours.inner_text()
        head = cells.get_by_role("columnheader", name="ours")
        head.press("Enter")
        head.press("Enter")  # from the largest on
        assert float(ours.inner_text()) > float(low)
        cells.get_by_label("contains").fill("no such words")
        assert status.inner_text() == "0 of 100"


def test_cells_that_were_not_run_are_a_count_that_opens(browser, report):
    with opened(browser, report) as tab:
        rest = tab.locator("#comparison details")
        assert rest.locator("summary").inner_text() == "50 cells that were not run"
        assert rest.locator(".tabulator").count() == 0
        rest.locator("summary").click()
        rest.locator(".tabulator-row").first.wait_for()
        assert rest.locator("[role=status]").inner_text() == "50 of 50"


def test_an_edit_is_found_and_looked_at(browser, report):
    with opened(browser, report) as tab:
        edits, detail = tab.locator("#drill-list .tabulator-row"), tab.locator("#drill-edit")
        drill = tab.locator("#drill")
        drill.scroll_into_view_if_needed()
        status = drill.locator("[role=status]").first
        assert status.inner_text() == "24 of 24 edits"
        assert "UnderEdit cured" in edits.first.inner_text()
        drill.get_by_label("Run").select_option(label="NA_MEMIT, trial 2")
        drill.get_by_label("Show").select_option(label="UnderEdit (16)")
        ids = [re.search(r"#\d", text)[0] for text in texts(edits)]
        assert sorted(ids) == ["#1", "#2", "#4", "#5"]
        drill.get_by_label("Show").select_option(label="wrong at the stop (8)")
        assert status.inner_text() == "2 of 24 edits"
        drill.get_by_label("Show").select_option(label="OverEdit (8)")
        assert {re.search(r"#\d", text)[0] for text in texts(edits)} == {"#0", "#3"}
        drill.get_by_label("Show").select_option(label="all edits (24)")
        drill.get_by_label("Search").fill("SCRIPT")
        assert edits.count() == 1
        title = f"#1 {HOSTILE}: France → Japan UnderEdit cured"
        assert detail.locator("h3").inner_text() == title
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
        kept = detail.locator("details").filter(has_text="2 answered as before")
        kept.locator("summary").click()
        neighbor = prompts.last.locator(".stage")
        assert "same answer" not in neighbor.first.inner_text()
        assert "✓ same answer as before" in neighbor.last.inner_text()


def test_the_list_works_with_the_keyboard_and_its_address_leads_back(browser, report):
    with opened(browser, report) as tab:
        holder, title = tab.locator("#drill-list .tabulator-tableholder"), "#drill-edit h3"
        holder.focus()
        first = tab.locator(title).inner_text()
        for _ in range(2):
            tab.keyboard.press("ArrowDown")
        third = tab.locator(title).inner_text()
        tab.keyboard.press("Home")
        assert tab.locator(title).inner_text() == first != third
        tab.keyboard.press("End")
        last = tab.locator(title).inner_text()
        tab.locator("#drill").get_by_label("Run").select_option(label="NA_MEMIT, trial 1")
        assert tab.locator(title).inner_text() == last  # the same edit, another method
        assert "NA_MEMIT, trial 1" in tab.locator("#drill-edit .when").first.inner_text()
        address = tab.evaluate("location.hash")
    with opened(browser, report, at=address) as tab:
        assert tab.locator(title).inner_text() == last
        assert "NA_MEMIT, trial 1" in tab.locator("#drill-edit .when").first.inner_text()
    for wrong in ("#edit/no/such/run/1/2", "#edit/%E0%A4%A"):
        with opened(browser, report, at=wrong) as tab:
            assert tab.locator(title).inner_text() == first


def test_thousands_of_edits_are_a_few_rows_of_the_document(browser, report, tmp_path):
    page = report.read_text("utf-8")
    block = re.search(r'(id="drill-rows">)(.*?)(</script>)', page)
    rows = 250 * json.loads(block[2])
    path = tmp_path / "many.html"
    many = json.dumps(rows).replace("<", "\\u003c")
    path.write_text(page.replace(block[0], block[1] + many + block[3]), encoding="utf-8")
    with opened(browser, path) as tab:
        edits, status = tab.locator("#drill-list .tabulator-row"), tab.locator("#drill-controls")
        assert len(rows) == 6000 and "6000 of 6000 edits" in status.inner_text()
        assert edits.count() < 60
        tab.locator("#drill-list .tabulator-tableholder").focus()
        tab.keyboard.press("End")
        tab.locator("#drill-list .tabulator-selected").wait_for()
        assert edits.count() < 60
        tab.locator("#drill").get_by_label("Search").fill("Lyon")
        assert "1000 of 6000 edits" in status.inner_text() and edits.count() < 60


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_nothing_serious(browser, report, size, scheme):
    """All folds open and all lists built; the policy of the page gives way to axe's own script."""
    with opened(browser, report, size, color_scheme=scheme, bypass_csp=True) as tab:
        tab.evaluate("document.querySelectorAll('details').forEach((fold) => (fold.open = true))")
        for place in tab.locator(".listing").all():
            place.scroll_into_view_if_needed()
            place.locator(".tabulator-row, .tabulator-placeholder").first.wait_for()
        found = axe.Axe().run(tab).response["violations"]
        serious = [
            f"{one['id']}: {node['html'][:200]}"
            for one in found
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"]
        ]
        assert serious == []


def test_the_page_is_printed_with_its_evidence(browser, report, tmp_path):
    with opened(browser, report) as tab:
        path = tmp_path / "report.pdf"
        tab.pdf(path=path)
        assert path.stat().st_size > 20_000
        tab.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert tab.locator("#claim-C1").get_by_text("Section 5.1 of the paper.").is_visible()


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
    assert path.stat().st_size < 3e6
    with opened(browser, path) as tab:
        widths = tab.locator("#figures img").evaluate_all("all => all.map((i) => i.naturalWidth)")
        assert len(widths) == 6 and all(width > 0 for width in widths)
        assert tab.locator("#trajectories .panels svg").count() == 5
        assert tab.locator("#tables figure.table").count() == 7
        assert tab.locator("#claims .badge").count() > 60
        assert tab.locator("#drill-list .tabulator-row").count() > 0
        detail = tab.locator("#drill-edit")
        assert "rank: o*" in detail.inner_text() and detail.locator("svg").count() > 0
