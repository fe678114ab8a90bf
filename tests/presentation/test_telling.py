"""What became of an edit, and which edits come first."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeledit.presentation import telling as T
from modeledit.study.layout import RunKey
from tests.tables import values_of

PLAIN = RunKey("places", "tiny", "MEMIT", 1)
ASSISTED = RunKey("places", "tiny", "NA_MEMIT", 1)


def values(after_first, at_stop):
    """Values of requests at k = 1 and 2, a triple of (eff_acc and eff_succ, gen_acc, spec_acc)."""
    frames = []
    for k, rows in ((1, after_first), (2, at_stop)):
        frame = values_of(range(len(rows)), [k])
        for name, column in (("eff_acc", 0), ("eff_succ", 0), ("gen_acc", 1), ("spec_acc", 2)):
            frame[name] = [float(row[column]) for row in rows]
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


FIRST = [(0, 0, 1), (0, 0, 1), (1, 1, 1), (0, 0, 1), (1, 1, 1)]
RUNS = {
    #               cured      cured, weaker  broken      never said  broken, less
    PLAIN: values(FIRST, [(1, 1, 1), (1, 0.5, 1), (1, 1, 0.2), (0, 0, 1), (1, 1, 0.8)]),
    ASSISTED: values(FIRST, [(1, 1, 1), (1, 1, 1), (1, 1, 1), (1, 1, 1), (1, 1, 0.9)]),
}
FOUND = T.outcomes(RUNS, {PLAIN: 2, ASSISTED: 2})


def having(run, flag):
    flags = FOUND[run].flags
    return flags.index[flags[flag]].tolist()


def test_flags_are_what_happened():
    assert having(PLAIN, "underedit") == [0, 1, 3] and having(PLAIN, "cured") == [0, 1]
    assert having(PLAIN, "wrong") == [3] and having(PLAIN, "broken") == [2, 4]
    assert having(ASSISTED, "cured") == [0, 1, 3] and having(ASSISTED, "broken") == [4]


def test_a_neighbor_prevents_what_the_plain_method_breaks():
    assert having(ASSISTED, "prevented") == [2] and having(PLAIN, "prevented") == []
    alone = T.outcomes({ASSISTED: RUNS[ASSISTED]}, {ASSISTED: 2})
    assert not alone[ASSISTED].flags["prevented"].any()


def test_a_stop_after_the_first_iteration_cures_nothing():
    found = T.outcomes({PLAIN: RUNS[PLAIN]}, {PLAIN: 1})[PLAIN].flags
    assert not found["cured"].any() and found["wrong"].tolist() == [True, True, False, True, False]


def test_the_most_telling_of_each_kind_come_in_turn():
    both = [FOUND[PLAIN], FOUND[ASSISTED]]
    found = T.in_order(both, [range(5), range(5)])
    assert found[:3] == [(0, 0), (0, 2), (1, 2)]  # cured, broken, prevented
    # Then what is left of each kind, the strongest first: 0.8 of neighbors kept before 0.9.
    assert found[3:6] == [(1, 0), (0, 4), (1, 1)] and found.index((0, 4)) < found.index((1, 4))
    assert found.index((0, 1)) > found.index((1, 3))  # it generalizes less
    assert sorted(found) == [(run, i) for run in (0, 1) for i in range(5)]
    assert T.in_order(both, [[3], []]) == [(0, 3)]


@given(st.lists(st.tuples(*[st.booleans()] * 5), min_size=1, max_size=30), st.integers(1, 40))
def test_no_edit_that_was_left_out_comes_before_a_shown_one(rows, most):
    flags = pd.DataFrame(rows, columns=list(T.FLAGS), index=np.arange(len(rows)) * 7)
    chosen = T.choose(flags, most)
    assert chosen == sorted(set(chosen)) and len(chosen) == min(most, len(rows))
    assert T.choose(flags.sample(frac=1, random_state=1), most) == chosen
    first = ["cured", "prevented", "underedit", "wrong", "broken"]
    order = {i: (*(not value for value in flags.loc[i, first]), i) for i in flags.index}
    left = [order[i] for i in flags.index if i not in chosen]
    assert not left or max(order[i] for i in chosen) < min(left)
    counts = T.counts(flags, chosen)
    assert counts["all"] == [len(chosen), len(rows)]
    assert counts["broken"][1] == sum(flags["broken"])


def test_values_that_no_run_has_are_no_flag():
    rows = RUNS[PLAIN].assign(spec_acc=np.nan)
    found = T.outcomes({PLAIN: rows}, {PLAIN: 2})[PLAIN]
    assert not found.flags["broken"].any()
    assert T.in_order([found], [range(5)])[0] == (0, 0)
    assert found.strength["cured"].tolist()[0] == pytest.approx(1)
