"""What a figure says it is about, and the metrics that it takes."""

import pandas as pd

from modeledit.presentation.figures.subject import Subject


def test_headings_name_what_is_shown():
    subject = Subject("counterfact-eligible", "tiny", "NA_MEMIT", "Tiny 1B")
    assert subject.place == "Tiny 1B, CounterFact (eligible)"
    assert subject.title == "NA_MEMIT on Tiny 1B, CounterFact (eligible)"


def test_rows_are_of_the_dataset_and_the_model():
    metrics = pd.DataFrame(
        {"dataset": ["a", "a", "b"], "model": ["tiny", "other", "tiny"], "k": [1, 2, 3]}
    )
    assert Subject("a", "tiny", "MEMIT", "Tiny").rows(metrics)["k"].tolist() == [1]
