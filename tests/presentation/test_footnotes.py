"""Notes below a table: of the differences that it shows, and of the stages."""

import pandas as pd

from modeledit.presentation.footnotes import difference_notes

TITLES = {"tiny": "Tiny"}
ROW = {"dataset": "d", "model": "tiny", "a": "NA_MEMIT", "b": "MEMIT", "a_k": "2", "b_k": "3"}
MEASURED = {"metric": "spec_acc", "difference": 0.1, "n": 20, "significant": True}


def differences(comparison):
    return pd.DataFrame([ROW | MEASURED | {"comparison": comparison}])


def test_a_short_table_says_which_of_its_differences_hold():
    (said,) = difference_notes("neighbor", "d", differences("neighbor"), TITLES)
    assert "Tiny, NA_MEMIT (k = 2) against MEMIT (k = 3): specificity accuracy +10.0" in said


def test_a_table_says_nothing_of_other_comparisons_datasets_or_without_tests():
    assert difference_notes("neighbor", "d", differences("prefix"), TITLES) == []
    assert difference_notes("neighbor", "other", differences("neighbor"), TITLES) == []
    assert difference_notes("neighbor_all", "d", differences("neighbor"), TITLES) == []
    assert difference_notes("neighbor", "d", None, TITLES) == []
