"""Pages in Markdown as GitHub reads them: their links, their anchors, and what they consist of."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.anchors import anchors_plugin

PARSER = MarkdownIt("commonmark").enable("table").use(anchors_plugin, max_level=6)
TARGETS = {"link_open": "href", "image": "src"}


def tokens(page: Path) -> list[Token]:
    """All tokens of a page, those inside of paragraphs, headings and cells too."""
    found = PARSER.parse(page.read_text("utf-8"))
    return [inner for token in found for inner in (token, *(token.children or ()))]


def anchors(page: Path) -> set[str]:
    """What `#` can point to in a page."""
    return {str(t.attrs["id"]) for t in tokens(page) if t.type == "heading_open"}


def links(page: Path) -> list[str]:
    """Where the links and images of a page point to."""
    return [str(t.attrs[TARGETS[t.type]]) for t in tokens(page) if t.type in TARGETS]


def broken(page: Path) -> Iterator[str]:
    """The links of a page to files that are not there, or to headings that their page lacks.

    Addresses elsewhere are not looked up. A link may not leave the page's project by its root.
    """
    for link in links(page):
        parts = urlsplit(link)
        if parts.scheme:
            continue
        target = page.parent / unquote(parts.path) if parts.path else page
        if parts.path.startswith("/") or not target.exists():
            yield f"{page}: {link}: no such file"
        elif parts.fragment and (target.is_dir() or unquote(parts.fragment) not in anchors(target)):
            yield f"{page}: {link}: no such heading"


def kinds(page: Path) -> dict[str, int]:
    """How many headings, tables, rows, list items, images, links and code blocks a page has."""
    found = Counter(token.tag for token in tokens(page) if token.nesting >= 0)
    code = sum(token.type in ("fence", "code_block") for token in tokens(page))
    tags = ("h1", "h2", "h3", "h4", "table", "tr", "li", "img", "a")
    return {tag: found[tag] for tag in tags} | {"pre": code}
