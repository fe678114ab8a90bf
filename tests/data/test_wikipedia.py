"""Articles and sentences from a Wikipedia dump: a small written dump and gensim's real excerpt."""

import bz2
import re
from statistics import mean

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeledit.data import wikipedia as wikitext
from modeledit.data.wikipedia import (
    Article,
    excerpt_path,
    read_articles,
    read_sample,
    sample_articles,
    split_articles,
    utterances,
)
from modeledit.io.files import FileError

PROSE = (
    "The {x} is a '''large''' [[animal|beast]] of the ''northern'' plains{{cite|a}} and hills. "
    "It was seen by many people who had walked (; {{lang|x}}) across the wide river in spring. "
)
MARKUP = f"""
{{{{Infobox|name=Beast}}}}
{PROSE.replace("{x}", "wisent")}

== History ==
* First entry of a list
# Second entry
{{| class="wikitable"
|-
! Head !! Other
|-
| cell || cell
|}}
<gallery>
File:One.jpg|A caption of one picture.
</gallery>
{PROSE.replace("{x}", "moose") * 20}
"""


def page(title: str, text: str, namespace: int = 0) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return (
        f"<page><title>{title}</title><ns>{namespace}</ns><id>1</id>"
        f'<revision><id>2</id><text xml:space="preserve">{text}</text></revision></page>'
    )


@pytest.fixture
def dump(tmp_path):
    pages = [
        page("Beast", MARKUP),
        page("Wisent", "#REDIRECT [[Beast]]\n" + "word " * 500),
        page("Talk:Beast", MARKUP, namespace=1),
        page("Stub", "A short article."),
    ]
    xml = '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/">' + "".join(pages)
    path = tmp_path / "dump.xml.bz2"
    path.write_bytes(bz2.compress(f"{xml}</mediawiki>".encode()))
    return path


@pytest.fixture(scope="module")
def articles() -> list[Article]:
    return read_articles(excerpt_path())


def test_markup_goes_and_prose_stays(dump):
    (article,) = read_articles(dump)
    assert article.title == "Beast"
    lines = article.text.split("\n")
    assert lines[0] == (
        "The wisent is a large beast of the northern plains and hills. "
        "It was seen by many people who had walked across the wide river in spring."
    )
    assert lines[1:3] == ["First entry of a list", "Second entry"]
    assert not re.search(r"History|''|\||\{|\[|==|Infobox|caption|\(", article.text)


def test_short_articles_count_when_asked_for(dump):
    assert [a.title for a in read_articles(dump, min_words=1)] == ["Beast", "Stub"]
    with pytest.raises(ValueError, match="dump.xml.bz2: no article of 9999 words"):
        read_articles(dump, min_words=9999)


def test_the_excerpt_is_enough_text(articles):
    assert len(articles) > 90
    assert len({a.title for a in articles}) == len(articles)
    assert sum(len(a.text.split()) for a in articles) > 400_000
    assert "Anarchism" in {a.title for a in articles}
    for article in articles:
        assert len(article.text.split()) >= 200
        assert not re.search(r"''|\||^[*#:;]|^={2}|\{\{|\[\[|^\s|\n\n", article.text, re.MULTILINE)


def test_a_missing_excerpt_is_named(monkeypatch):
    monkeypatch.setattr(wikitext, "_EXCERPT", "nothing.bz2")
    with pytest.raises(FileNotFoundError, match="nothing.bz2: this gensim was installed without"):
        excerpt_path()


titles = st.lists(st.sampled_from("abcdefghij"), min_size=2, max_size=20).filter(
    lambda names: len(set(names)) > 1
)


@given(titles, st.floats(0.01, 0.99), st.integers(0, 100), st.randoms())
def test_the_split_is_by_title_and_ignores_order(names, fraction, seed, shuffler):
    given_articles = [Article(name, f"{name} {i}") for i, name in enumerate(names)]
    train, held_out = split_articles(given_articles, fraction, seed)
    assert not {a.title for a in train} & {a.title for a in held_out}
    assert sorted(a.text for a in train + held_out) == sorted(a.text for a in given_articles)
    count = len({a.title for a in held_out})
    assert 1 <= count < len(set(names))
    assert abs(count - fraction * len(set(names))) <= 1
    shuffler.shuffle(given_articles)
    again = split_articles(given_articles, fraction, seed)
    assert {a.text for a in again[1]} == {a.text for a in held_out}


@pytest.mark.parametrize("fraction", [0, 1, -0.5, 2])
def test_a_split_needs_a_proper_fraction(fraction):
    with pytest.raises(ValueError, match="between 0 and 1"):
        split_articles([Article("a", ""), Article("b", "")], fraction, seed=0)


def test_a_split_needs_two_titles():
    with pytest.raises(ValueError, match="two titles or more, got 1"):
        split_articles([Article("a", "x"), Article("a", "y")], 0.5, seed=0)


@pytest.mark.parametrize("seed", range(5))
def test_utterances_are_sentences_of_the_length_of_me_ppl(articles, seed):
    texts = utterances(articles, seed=seed)
    assert len(set(texts)) == 50
    for text in texts:
        assert re.fullmatch(r"[A-Z][A-Za-z,' -]+[a-z]{4}\.", text)
        assert 11 <= len(text.split()) <= 45
    assert mean(len(text.split()) for text in texts) == pytest.approx(21.7, abs=1)
    sources = [next(a.title for a in articles if text in a.text) for text in texts]
    assert len(set(sources)) == 50
    assert texts == utterances(articles[::-1], seed=seed)
    assert texts != utterances(articles, seed=seed + 1)


def test_few_articles_take_turns(articles):
    few = articles[:5]
    texts = utterances(few, count=12, seed=0)
    counts = sorted(sum(text in article.text for text in texts) for article in few)
    assert counts == [2, 2, 2, 3, 3]


def test_asking_for_too_many_names_the_numbers():
    text = (
        "The old bridge over the river was built by three brothers from the village. Too short. "
        "The house on the hill (a ruin) was never rebuilt after the long winter of that year. "
        "New York, Boston, Chicago, Denver, Seattle, Portland, Dallas, Houston, Austin and Miami."
    )
    articles = [Article("a", text), Article("b", text)]
    assert utterances(articles, count=1) == [text.split(".")[0] + "."]
    with pytest.raises(ValueError, match="asked for 2 .* 2 articles hold only 1"):
        utterances(articles, count=2)


def test_a_damaged_shard_is_named(tmp_path):
    texts = [f"article {i} " * 50 for i in range(40)]
    shards = [tmp_path / f"shard{i}.parquet" for i in range(2)]
    for shard in shards:
        pq.write_table(pa.table({"text": texts}), shard, row_group_size=20, use_dictionary=False)
    places = [(0, 3), (1, 25)]
    assert list(read_sample(shards, places)) == [texts[3], texts[25]]
    data = bytearray(shards[1].read_bytes())
    second = pq.ParquetFile(shards[1]).metadata.row_group(1).column(0).data_page_offset
    data[second : second + 40] = b"x" * 40
    shards.append(tmp_path / "damaged.parquet")
    shards[2].write_bytes(data)
    with pytest.raises(
        FileError, match="damaged.parquet: damaged in its group of rows 1: .*remove"
    ):
        list(read_sample(shards, [(0, 3), (2, 25)]))
    shards[1].write_bytes(b"no parquet")
    with pytest.raises(FileError, match="shard1.parquet: not a parquet file: .*; remove it"):
        sample_articles([shards[1]], 1, 0)
    pq.write_table(pa.table({"title": ["x"]}), tmp_path / "other.parquet")
    with pytest.raises(FileError, match="other.parquet: no column 'text', only title"):
        sample_articles([tmp_path / "other.parquet"], 1, 0)
