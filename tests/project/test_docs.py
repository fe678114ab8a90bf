"""Pages name what exists, and read the same on the site; docs/quirks.md has every quirk."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

from tests.project.markdown import broken, kinds

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/quirks.md").read_text("utf-8")
SPEC = (ROOT / "docs/SPEC.md").read_text("utf-8")
SWITCHES = yaml.safe_load((ROOT / "config/presets.yaml").read_text("utf-8"))["corrected"]
ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in PAGE.splitlines()
    if re.match(r"\| (I\d+)? ?\|", line) and "the quirk, in short" not in line
]


WRITTEN = [
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("docs/*.md")),
    *(ROOT / folder / "README.md" for folder in ("benchmarks", "config", "results")),
    *sorted(ROOT.glob("modeledit/**/*.md")),
]


def built(docs, out):
    """Build the site from a folder of pages; Abort where it is not in order."""
    config = load_config(str(ROOT / "mkdocs.yml"), docs_dir=str(docs), site_dir=str(out))
    config.strict = True
    build(config)
    return out


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return built(ROOT / "docs", tmp_path_factory.mktemp("site"))


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    assert list(broken(page)) == []


def test_broken_links_are_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# One heading\n\n[a](#one-heading) [b](#two) [c](page.md#one-heading) [d](page.md#x)\n\n"
        "| cell |\n|---|\n| [e](gone.md) |\n\n![f](gone.png) [g](/page.md) [h](https://x.org/y#z)\n"
        "\n    [i](in_code.md) `[j](in_code.md)`\n"
    )
    said = [line.removeprefix(f"{page}: ") for line in broken(page)]
    assert said == [
        "#two: no such heading",
        "page.md#x: no such heading",
        "gone.md: no such file",
        "gone.png: no such file",
        "/page.md: no such file",
    ]


@pytest.mark.parametrize(
    "link",
    ["gone.md", "running.md#gone", "#gone", "/running.md", "../README.md", "images/gone.png"],
)
def test_the_site_is_not_built_with_a_broken_link(tmp_path, link):
    docs = shutil.copytree(ROOT / "docs", tmp_path / "docs")
    page = docs / "index.md"
    page.write_text(f"{page.read_text('utf-8')}\n[here]({link})\n", "utf-8")
    with pytest.raises(Abort, match="1 warnings in strict mode"):
        built(docs, tmp_path / "site")


def test_pages_read_the_same_on_the_site(site):
    """Its Markdown is not GitHub's: lists without a blank line before them, code in lists."""
    for page in sorted((ROOT / "docs").glob("*.md")):
        html = (site / f"{page.stem}.html").read_text("utf-8")
        main = html.split('role="main">')[1].split("<footer")[0]
        here = {tag: len(re.findall(rf"<{tag}[ >]", main)) for tag in kinds(page)}
        here["a"] -= main.count('class="headerlink"')
        assert here == kinds(page), page.name


def test_the_site_takes_nothing_from_elsewhere(site):
    for page in site.glob("*.html"):
        loaded = re.findall(r"<(?:script|link|img)\b[^>]*(?:src|href)=\"([^\"]+)", page.read_text())
        assert loaded and not [address for address in loaded if re.match(r"https?:|//", address)]
    for sheet in site.glob("**/*.css"):
        assert not re.findall(r"url\([\"']?(?:https?:)?//", sheet.read_text("utf-8"))


def test_tables_of_measurements_are_not_stale():
    asked = [sys.executable, "-c", "import gpu_table; print(gpu_table.tables())"]
    said = subprocess.run(
        asked, cwd=ROOT / "benchmarks", capture_output=True, text=True, check=True
    )
    page = (ROOT / "docs/benchmarks.md").read_text("utf-8")
    assert said.stdout.strip() in page, "run python benchmarks/gpu_table.py"


def test_every_quirk_of_the_specification_has_its_row():
    specified = re.findall(r"^- \*\*(I\d+)\*\* ", SPEC, re.MULTILINE)
    assert len(specified) == 36
    assert [row[0] for row in ROWS if row[0]] == specified


def test_every_switch_of_a_single_quirk_is_on_the_page():
    named = set(re.findall(r"`(\w+)`", " ".join(row[2] for row in ROWS)))
    # how trials become one score, and whose stop counts: paper and release agree, SPEC F.4 and G.1
    assert set(SWITCHES) - named == {"trial_score", "stop_row"}


@pytest.mark.parametrize("row", ROWS, ids=[row[0] or "also" for row in ROWS])
def test_what_a_row_names_is_there(row):
    _, _, switch, where, test = row
    names = re.findall(r"`(\w+)`", switch)
    assert not switch.startswith("`") or names and set(names) & set(SWITCHES)
    for path in re.findall(r"`([^`]+)`", where):
        assert (ROOT / path).is_file(), path
    if where.startswith("`"):
        path, name = re.fullmatch(r"`([^`]+)::(\w+)`", test).groups()
        assert re.search(rf"^def {name}\(", (ROOT / path).read_text("utf-8"), re.MULTILINE), test
    else:
        assert not where and not test and re.match("none: .", switch)


def test_the_map_names_modules_that_are_there():
    page = (ROOT / "docs/architecture.md").read_text("utf-8")
    named = set(re.findall(r"`([a-z_/]+\.py)`", page))
    assert len(named) > 20
    assert all(any((ROOT / top / path).is_file() for top in ("", "modeledit")) for path in named)
    packages = re.findall(r"^\| \d \| `(\w+)`", page, re.MULTILINE)
    assert sorted(packages) == sorted(p.parent.name for p in ROOT.glob("modeledit/*/__init__.py"))
