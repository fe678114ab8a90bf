"""Texts of the embedded excerpt: articles for the covariance, held-out sentences for ME-PPL."""

from dataclasses import replace

import pytest

from modeledit.data import wikipedia
from modeledit.data.wikipedia import Article, excerpt_texts
from modeledit.study.settings import Text

TEXT = Text(covariance_articles=6, covariance_length=64, perplexity="excerpt", perplexity_texts=4)
SENTENCE = "The quiet rivers of article {} were crossed by many travellers who walked in spring."
NAMES = ("alder", "beech", "cedar", "elder", "fir", "hazel", "larch", "maple", "oak", "pine")


@pytest.fixture(autouse=True)
def excerpt(monkeypatch):
    """Ten articles of two sentences each, in the place of the real excerpt's hundred."""
    articles = [Article(name, f"{SENTENCE.format(name)} {SENTENCE.format(name)}") for name in NAMES]
    monkeypatch.setattr(wikipedia, "excerpt_path", lambda: "the excerpt")
    monkeypatch.setattr(wikipedia, "read_articles", {"the excerpt": articles}.get)


def test_sentences_are_from_articles_that_the_covariance_does_not_see():
    articles, sentences = excerpt_texts(TEXT, seed=1)
    assert len(articles) == 6 and len(sentences) == 4
    assert all(text.count("article") == 2 for text in articles)  # whole
    seen = {name for name in NAMES for text in articles if f" {name} " in text}
    asked = {name for name in NAMES for text in sentences if f" {name} " in text}
    assert len(seen) == 6 and asked and not seen & asked


def test_the_seed_decides_what_is_held_out():
    assert excerpt_texts(TEXT, 1) == excerpt_texts(TEXT, 1) != excerpt_texts(TEXT, 2)


def test_no_sentences_are_drawn_where_published_ones_are_taken():
    published = replace(TEXT, perplexity="authors", perplexity_texts=1000)
    assert excerpt_texts(published, 1) == (excerpt_texts(TEXT, 1)[0], [])


def test_too_many_articles_are_refused_with_the_number_that_there_is():
    with pytest.raises(ValueError, match=r"covariance_articles = 7: the excerpt offers 6 articles"):
        excerpt_texts(replace(TEXT, covariance_articles=7), 1)
