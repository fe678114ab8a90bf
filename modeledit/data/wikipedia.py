"""Plain text from a Wikipedia dump: for the key statistics and for the perplexity utterances.

The statistics of SPREAD are taken over Wikipedia (SPEC A.7), and ME-PPL-50 is 50 short texts
(SPEC E.3) that are no part of this repository. The default takes both from the English Wikipedia
excerpt that the gensim package carries, the utterances from articles held out of the statistics.
For statistics as large as the paper's, articles are drawn from a whole dump in parquet files, which
is plain text already.
Wikipedia text is CC BY-SA: sentences taken from it must name their source.

gensim reads the dump and removes the markup; the few regular expressions here remove what it
leaves: quote marks for bold and italics, headings, list marks, rows of tables and galleries,
emptied brackets.
"""

import bz2
import random
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from modeledit.io.files import FileError, one_line
from modeledit.io.refusal import Refusal
from modeledit.study.settings import Text

_EXCERPT = "enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"

_REDIRECT = re.compile(r"\s*#\s*redirect\b", re.IGNORECASE)
_HEADING = re.compile(r"={2,}.*={2,}")
_LIST_MARKS = re.compile(r"\A[\s*#:;]+")
_QUOTES = re.compile(r"'{2,}")
_EMPTY_BRACKETS = re.compile(r"\s*\(\s*(?:[,;]\s*)*\)")
_AFTER_BRACKET = re.compile(r"\(\s*[,;]\s*")

# A sentence ends with a word of four letters or more: shorter ones may be abbreviations.
_SENTENCE_END = re.compile(r"(?<=[a-z]{4}\.)\s+(?=[A-Z])")
# Words and commas only: no digits, quotes or brackets, no second period, and no double space, which
# is the gap where a template stood.
_PROSE = re.compile(r"[A-Z][a-z]*(?:,? [A-Za-z]+(?:['-][A-Za-z]+)*)+\.")
_LAST_WORD = re.compile(r"[a-z]{4}\.\Z")

HELD_OUT = 0.35
"""Share of the excerpt's articles that are held out: enough for 50 sentences, one an article."""

_MEAN_WORDS = 21.7
"""Mean number of words of the texts in ME-PPL-50 (SPEC E.3)."""


@dataclass(frozen=True)
class Article:
    """One article: its title and its prose, paragraphs separated by a newline."""

    title: str
    text: str


def excerpt_path() -> Path:
    """The Wikipedia excerpt inside the installed gensim package (about 100 articles, 1.7 MB).

    Raises `FileNotFoundError` when the installed gensim does not carry it.
    """
    path = Path(str(resources.files("gensim"))) / "test" / "test_data" / _EXCERPT
    if not path.is_file():
        raise FileNotFoundError(
            f"no Wikipedia excerpt at {path}: this gensim was installed without its test data; "
            "install the gensim wheel of the pinned version or name a dump of your own"
        )
    return path


def read_articles(path: Path | str, min_words: int = 200) -> list[Article]:
    """Read the articles of a MediaWiki dump (XML in bz2) as plain text, in the dump's order.

    Redirects, pages outside the article namespace and stubs (fewer than `min_words` words of
    prose) are skipped. Raises `ValueError` when nothing is left.
    """
    from gensim.corpora import wikicorpus  # takes longer to import than all others together

    path = Path(path)
    articles = []
    with bz2.open(path, "rb") as dump:
        for title, markup, _ in wikicorpus.extract_pages(dump, filter_namespaces=("0",)):
            if not markup or _REDIRECT.match(markup):
                continue
            text = _plain(wikicorpus.filter_wiki(markup))
            if len(text.split()) >= min_words:
                articles.append(Article(title=title, text=text))
    if not articles:
        raise Refusal(f"{path}: no article of {min_words} words or more")
    return articles


def split_articles(
    articles: Sequence[Article], held_out_fraction: float, seed: int
) -> tuple[list[Article], list[Article]]:
    """Split into (train, held out), no title on both sides; each side keeps the given order.

    `held_out_fraction` of the titles, rounded, are held out: at least one, never all. The split
    depends on the titles and the seed, not on the order. Raises `ValueError` for a fraction
    outside (0, 1) or fewer than two titles.
    """
    if not 0 < held_out_fraction < 1:
        raise Refusal(f"held_out_fraction must lie between 0 and 1, got {held_out_fraction}")
    titles = sorted({article.title for article in articles})
    if len(titles) < 2:
        raise Refusal(f"a split needs two titles or more, got {len(titles)}")
    size = min(max(round(held_out_fraction * len(titles)), 1), len(titles) - 1)
    held_out = set(random.Random(seed).sample(titles, size))
    return (
        [article for article in articles if article.title not in held_out],
        [article for article in articles if article.title in held_out],
    )


def excerpt_texts(text: Text, seed: int) -> tuple[list[str], list[str]]:
    """Texts of the embedded excerpt: whole articles for the covariance, sentences for ME-PPL.

    The sentences are from articles that were held out of the covariance. Raises `ValueError` when
    the excerpt has fewer of either than `text` asks for.
    """
    train, held_out = split_articles(read_articles(excerpt_path()), HELD_OUT, seed)
    if len(train) < text.covariance_articles:
        raise Refusal(
            f"text.covariance_articles = {text.covariance_articles}: the excerpt offers "
            f"{len(train)} articles for it; ask for at most that many"
        )
    articles = [article.text for article in train[: text.covariance_articles]]
    if text.perplexity != "excerpt":
        return articles, []
    return articles, utterances(held_out, text.perplexity_texts, seed)


def utterances(
    articles: Sequence[Article],
    count: int = 50,
    seed: int = 0,
    min_words: int = 11,
    max_words: int = 45,
) -> list[str]:
    """Draw `count` whole sentences of plain prose, a stand-in for ME-PPL-50 (SPEC E.3).

    Each has `min_words` to `max_words` words, by default the range of ME-PPL-50. Of two random
    sentences of an article the one that keeps the mean length nearer to ME-PPL-50's is taken,
    which brings it within a word of 21.7. Articles take turns in a seeded order: none gives its
    second sentence before every other gave its first.
    Raises `ValueError` when the articles hold fewer sentences than `count`.
    """
    rng = random.Random(seed)
    pools = []
    for article in sorted(articles, key=lambda a: (a.title, a.text)):
        pool = _sentences(article.text, min_words, max_words)
        rng.shuffle(pool)
        if pool:
            pools.append(pool)
    rng.shuffle(pools)
    drawn: list[str] = []
    seen: set[str] = set()
    words = 0
    while len(drawn) < count and pools:
        for pool in pools[: count - len(drawn)]:
            wanted = _MEAN_WORDS * (len(drawn) + 1) - words
            off = [abs(len(sentence.split()) - wanted) for sentence in pool[-2:]]
            sentence = pool[-2:][off.index(min(off))]
            pool.remove(sentence)
            if sentence not in seen:
                seen.add(sentence)
                drawn.append(sentence)
                words += len(sentence.split())
        pools = [pool for pool in pools if pool]
    if len(drawn) < count:
        raise Refusal(
            f"asked for {count} sentences of {min_words} to {max_words} words, but "
            f"{len(articles)} articles hold only {len(drawn)}"
        )
    return drawn


def sample_articles(
    shards: Sequence[Path], count: int | None, seed: int, shuffled: bool = False
) -> list[tuple[int, int]]:
    """Draw `count` articles of a dump in parquet files: (shard, row) of each, none twice.

    The draw is uniform over all articles of `shards` and depends on `seed` alone. It is sorted, so
    that every shard is read once from its beginning to its end, but where it is to be `shuffled`,
    for a reader who stops when there is enough. Without `count` all articles come, shuffled.
    Raises ValueError for too few articles.
    """
    starts = [0, *accumulate(_parquet(shard)[1][-1] for shard in shards)]
    if count is not None and count > starts[-1]:
        raise Refusal(
            f"asked for {count} articles, but {len(shards)} shards hold only {starts[-1]}"
        )
    drawn = random.Random(seed).sample(range(starts[-1]), starts[-1] if count is None else count)
    places = drawn if count is None or shuffled else sorted(drawn)
    return [(i := bisect_right(starts, n) - 1, n - starts[i]) for n in places]


def read_sample(shards: Sequence[Path], places: Iterable[tuple[int, int]]) -> Iterator[str]:
    """The texts at `places`, each a (shard, row), reading one group of rows at a time.

    Raises FileError naming a shard that is damaged.
    """
    held, texts = None, pa.chunked_array([], pa.string())
    for shard, row in places:
        file, starts = _parquet(shards[shard])
        group = bisect_right(starts, row) - 1
        if held != (shard, group):
            try:
                texts = file.read_row_group(group, columns=["text"])["text"]
            except (OSError, pa.ArrowException) as error:
                raise FileError(
                    f"{shards[shard]}: damaged in its group of rows {group}: {one_line(error)}; "
                    "remove it"
                ) from error
            held = shard, group
        yield texts[row - starts[group]].as_py()


@lru_cache(maxsize=2)
def _parquet(path: Path) -> tuple[pq.ParquetFile, list[int]]:
    """An open shard and the first row of each of its groups. Raises FileError if it is none."""
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise FileError(f"{path}: not a parquet file: {one_line(error)}; remove it") from error
    if "text" not in file.schema_arrow.names:
        raise FileError(
            f"{path}: no column 'text', only {', '.join(file.schema_arrow.names)}; is it another "
            "file's? remove it"
        )
    groups = (file.metadata.row_group(i).num_rows for i in range(file.num_row_groups))
    return file, [0, *accumulate(groups)]


def _plain(text: str) -> str:
    """Remove the markup that gensim's filter leaves; one paragraph a line."""
    lines = []
    for line in text.splitlines():
        line = line.strip()
        # A pipe that is still there belongs to a table, a gallery or an image.
        if "|" in line or line.startswith("!") or _HEADING.fullmatch(line):
            continue
        line = _EMPTY_BRACKETS.sub("", _QUOTES.sub("", line))
        line = _LIST_MARKS.sub("", _AFTER_BRACKET.sub("(", line)).strip()
        if line:
            lines.append(line)
    return "\n".join(lines)


def _sentences(text: str, min_words: int, max_words: int) -> list[str]:
    """The sentences of plain prose in `text`, in order."""
    found = []
    for paragraph in text.split("\n"):
        sentences = _SENTENCE_END.split(paragraph)
        # A line of one sentence may be a caption, an entry of a list or a title.
        if len(sentences) < 2:
            continue
        for sentence in sentences:
            words = sentence.split()
            if (
                min_words <= len(words) <= max_words
                and _PROSE.fullmatch(sentence)
                and _LAST_WORD.search(sentence)
                # Mostly capitalised words: a title or a list of names.
                and 2 * sum(word[0].isupper() for word in words) <= len(words)
            ):
                found.append(sentence)
    return found
