"""How a model writes about the subjects of its edits: fluency and consistency.

Both are ROME's generation metrics (arXiv:2202.05262, section 3.3, reported as GE and RS);
the weights of the entropies, which the paper does not print, are those of its released code. There
the prompt is a part of the text, words are those of NLTK, and fluency is printed times 100; here
the text is what the model said alone, and its words are runs of letters and digits, and each sign
of punctuation by itself.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from modeledit.evaluation.generation import mean_values
from modeledit.evaluation.schemas import GENERATIONS
from modeledit.io.frames import require_columns

WEIGHTS = {2: 2 / 3, 3: 4 / 3}
"""Of the entropies of n-grams, by n; their weighted mean is the sum over two."""
_WORDS = re.compile(r"\w+|[^\w\s]")


def words(text: str) -> list[str]:
    """The words and signs of a text, as they are counted."""
    return _WORDS.findall(text)


def entropy(tokens: Sequence[str], n: int) -> float:
    """-sum_k f(k) log2 f(k) in bits, f(k) the share of n-gram k; 0 of fewer than n tokens."""
    counts = Counter(zip(*(tokens[i:] for i in range(n)), strict=False))
    total = sum(counts.values())
    return sum(count / total * math.log2(total / count) for count in counts.values())


def fluency(text: str) -> float:
    """Weighted mean of the entropies of bigrams (2/3) and trigrams (4/3), in bits.

    A text that repeats itself has little. One of up to two words has none, as one that says a
    single thing again and again: a model that falls silent does not write fluently.
    """
    tokens = words(text)
    return sum(weight * entropy(tokens, n) for n, weight in WEIGHTS.items()) / len(WEIGHTS)


class Consistency:
    """Cosines of tf-idf vectors; how rare a word is, is said by all the texts `known`."""

    def __init__(self, known: Sequence[str]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer  # long to import

        self._vectors: Any = TfidfVectorizer()
        try:
            self._vectors.fit(known)
        except ValueError:  # not a word in them
            self._vectors = None

    def of(self, texts: Sequence[str], references: Sequence[str]) -> float:
        """That of all `texts` together with all `references` together.

        NaN without references or known words; 0 where the texts share no word with them.
        """
        if not references or self._vectors is None:
            return math.nan
        said, wanted = self._vectors.transform([" ".join(texts), " ".join(references)]).toarray()
        norms = float(np.linalg.norm(said) * np.linalg.norm(wanted))
        return float(said @ wanted) / norms if norms else 0.0


def request_fluency(
    texts: pd.DataFrame, references: Mapping[int, Sequence[str]] | None = None
) -> pd.DataFrame:
    """Fluency of each request's texts (the mean), and their consistency with its references.

    ``texts`` are GENERATIONS rows of fluency.parquet; ``references`` are texts about things that
    have the new object. Returns ``request``, ``metric`` and ``value``; no row of consistency for
    requests without references.
    """
    require_columns(texts, GENERATIONS.names, "fluency.parquet")
    found = [
        (int(request), "fluency", fluency(text))
        for request, text in zip(texts["request"], texts["text"], strict=True)
    ]
    known = {text: None for some in (references or {}).values() for text in some}
    if known:
        consistency = Consistency(list(known))
        for request, own in texts.groupby("request"):
            number = int(str(request))
            value = consistency.of(own["text"].tolist(), (references or {}).get(number, ()))
            found += [] if math.isnan(value) else [(number, "consistency", value)]
    return mean_values(found)
