"""Trials are disjoint, deterministic and independent of the order of the requests."""

from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeledit.data.requests import Request, write_requests
from modeledit.data.trials import split_trials
from scripts.split_trials import split_trials as split_to_files


def request(id: int, subject: str, prompt: str = "{} is in") -> Request:
    return Request(id=id, subject=subject, prompt=prompt, target_new="Rome", target_true="Oslo")


def fact(r: Request) -> tuple[str, str]:
    return (r.subject, r.prompt)


# Few names and prompts, so that ids and facts do repeat.
requests_lists = st.lists(
    st.builds(
        request,
        id=st.integers(0, 40),
        subject=st.sampled_from([f"Town{i:02}" for i in range(15)]),
        prompt=st.sampled_from(["{} is in", "The city of {} is in"]),
    ),
    max_size=60,
)


@given(requests_lists, st.integers(1, 4), st.integers(1, 6), st.integers(0, 2**32), st.data())
def test_trials_are_disjoint_and_do_not_depend_on_order(requests, count, size, seed, data):
    shuffled = data.draw(st.permutations(requests))
    try:
        trials = split_trials(requests, count, size, seed)
    except ValueError:
        with pytest.raises(ValueError):
            split_trials(shuffled, count, size, seed)
        return
    assert [len(trial) for trial in trials] == [size] * count
    drawn = [r for trial in trials for r in trial]
    assert len({r.id for r in drawn}) == len(drawn)
    assert len({fact(r) for r in drawn}) == len(drawn)
    for a, b in combinations(trials, 2):
        assert not {r.id for r in a} & {r.id for r in b}
        assert not {fact(r) for r in a} & {fact(r) for r in b}
    assert all(r in requests for r in drawn)
    assert split_trials(shuffled, count, size, seed) == trials


@given(st.integers(1, 5), st.integers(1, 5))
def test_every_request_can_be_used(count, size):
    requests = [request(i, f"Town{i:02}") for i in range(count * size)]
    trials = split_trials(requests, count, size, seed=0)
    assert sorted(r.id for trial in trials for r in trial) == list(range(count * size))


def test_seeds_differ():
    requests = [request(i, f"Town{i:02}") for i in range(40)]
    draws = {tuple(r.id for r in split_trials(requests, 1, 10, seed)[0]) for seed in range(5)}
    assert len(draws) == 5


def test_asking_for_too_many_names_the_numbers_and_the_maximum():
    requests = [request(i, f"Town{i:02}") for i in range(10)] + [request(99, "Town00")]
    said = (
        r"3 trials of 4 need 12 .* there are 10 \(99 is about the same fact as 0\); allowed: "
        "size at most 3 or 2 trials of 4$"
    )
    with pytest.raises(ValueError, match=said):
        split_trials(requests, 3, 4, seed=0)


@pytest.mark.parametrize(("count", "size"), [(0, 1), (1, 0), (-1, 5)])
def test_count_and_size_must_be_positive(count, size):
    with pytest.raises(ValueError, match="at least 1"):
        split_trials([request(0, "Town")], count, size, seed=0)


def test_too_few_requests_name_the_log_of_those_that_were_left_out(tmp_path):
    write_requests(tmp_path / "requests.jsonl", [request(1, "Lyon"), request(2, "Nice")])
    with pytest.raises(ValueError, match="there are 2; .*left out are named in logs/requests.log"):
        split_to_files(
            tmp_path / "requests.jsonl",
            size=3,
            seed=0,
            outputs=[tmp_path / "trial1.jsonl"],
            told=Path("logs/requests.log"),
        )
