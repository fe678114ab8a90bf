"""Entropies and cosines of small texts, by hand."""

import math

import pytest

from modeledit.evaluation.fluency import Consistency, entropy, fluency, request_fluency, words
from tests.made_up_behavior import said


def test_words_and_signs_are_counted():
    assert words("It's 3.5, no?") == ["It", "'", "s", "3", ".", "5", ",", "no", "?"]


def test_entropy_is_that_of_the_shares_of_n_grams():
    # ab ba ab ba: two halves, 1 bit
    assert entropy(list("ababa"), 2) == pytest.approx(1.0)
    # aba bab aba: 2/3 and 1/3
    assert entropy(list("ababa"), 3) == pytest.approx(
        2 / 3 * math.log2(3 / 2) + 1 / 3 * math.log2(3)
    )
    assert entropy(list("aaaa"), 2) == 0.0
    assert entropy(["a"], 2) == entropy([], 3) == 0.0


def test_fluency_weighs_trigrams_twice():
    # (2/3 * 1 + 4/3 * 0.9183) / 2
    assert fluency("a b a b a") == pytest.approx(1 / 3 + 2 / 3 * 0.9182958, abs=1e-6)
    assert fluency("a a a a") == fluency("a") == fluency("") == 0.0
    # five bigrams and four trigrams, all different: (2/3 log2 5 + 4/3 log2 4) / 2
    assert fluency("a b c d e f") == pytest.approx(math.log2(5) / 3 + 4 / 3)


KNOWN = ("paris seine", "paris rome")


def test_consistency_is_the_cosine_of_tf_idf():
    of = Consistency(KNOWN).of
    # idf ln(3 / (1 + df)) + 1: paris 1, seine and rome 1 + ln 1.5; they share paris alone
    rare = 1 + math.log(1.5)
    assert of(["Paris seine"], ["Paris Rome"]) == pytest.approx(1 / (1 + rare**2))
    assert of(["rome", "paris"], ["Paris Rome"]) == pytest.approx(1.0)
    assert of(["Berlin"], ["Paris Rome"]) == of([], ["Paris"]) == 0.0
    assert math.isnan(of(["Paris"], []))
    assert math.isnan(Consistency(["?!"]).of(["Paris"], ["?!"]))


def test_a_request_has_the_mean_of_its_texts_and_one_consistency():
    texts = said(
        [
            (1, "subject", 0, "X is", "a b a b a"),
            (1, "subject", 1, "X has", "a a a"),
            (2, "subject", 0, "Y is", "paris rome"),
        ]
    )
    found = request_fluency(texts, {1: (), 2: KNOWN[1:]}).to_dict("records")
    assert [(row["request"], row["metric"]) for row in found] == [
        (2, "consistency"),
        (1, "fluency"),
        (2, "fluency"),
    ]
    values = [row["value"] for row in found]
    assert values == pytest.approx([1.0, fluency("a b a b a") / 2, 0.0])
    assert set(request_fluency(texts)["metric"]) == {"fluency"}
