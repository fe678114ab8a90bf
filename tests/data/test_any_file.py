"""Any file at all: requests that survive being written and read, or one error that names it."""

import csv
import gc
import gzip
import io
import json
from datetime import date
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modeledit.data.readers import OWN, READERS, load_requests
from modeledit.data.record_files import many_objects, read_entries
from modeledit.data.records import RequestError
from modeledit.data.requests import read_requests, write_requests
from tests.data.forms import zsre_record
from tests.data.test_readers import damaged, fact, flat

FACTS = [fact(i, f"Town{i}") for i in range(4)]
FLAT = [flat(case_id=i, subject=f"Town{i}", prompt=f"Town{i} is in") for i in range(3)]
QUESTIONS = [zsre_record()]
OWN_FACTS = [
    {
        "prompt": f"Town{i} is in",
        "subject": f"Town{i}",
        "new_object": "Japan",
        "old_object": "France",
        "paraphrases": ["Here is", "{} lies in"],
        "neighbors": ["Nice is in", {"prompt": "{} is in", "subject": "Lille", "object": "Peru"}],
    }
    for i in range(3)
]


def as_parquet(records):
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records), stream, write_page_checksum=True)
    return stream.getvalue()


def as_csv(records, delimiter=","):
    """Records as a spreadsheet writes them; lists and objects are JSON in a cell."""
    names = list(dict.fromkeys(name for record in records for name in record))
    stream = io.StringIO(newline="")
    rows = csv.writer(stream, delimiter=delimiter)
    rows.writerow(names)
    for record in records:
        rows.writerow(
            json.dumps(value) if isinstance(value, dict | list) else value
            for value in map(record.get, names)
        )
    return stream.getvalue().encode()


def as_lines(records):
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def ask(path, data, kind, skip_bad=False):
    """What a file gives: requests, or None where it is refused as it should be."""
    path.write_bytes(data)
    try:
        requests = load_requests(path, kind, skip_bad).requests
    except RequestError as error:
        assert str(error).startswith(str(path))
        assert all(line.isprintable() for line in str(error).split("\n"))
        str(error).encode()
        return None
    write_requests(path.with_name("any.requests"), requests)
    assert read_requests(path.with_name("any.requests")) == requests
    return requests


WHOLE = [
    ("any.json", "counterfact", json.dumps(FACTS, ensure_ascii=False).encode()),
    ("any.jsonl", "counterfact", as_lines(FACTS)),
    ("any.json", "counterfact", json.dumps(FACTS).encode("utf-16")),
    ("any.json", "counterfact", b"\xef\xbb\xbf" + json.dumps(FACTS).encode()),
    ("any.json.gz", "counterfact", gzip.compress(as_lines(FACTS), mtime=0)),
    ("any.parquet", "counterfact", as_parquet(FACTS)),
    ("any.csv", "counterfact", as_csv(FLAT)),
    ("any.tsv", "counterfact", as_csv(FLAT, "\t")),
    ("any.csv", "zsre", as_csv(QUESTIONS, ";")),
    ("any.csv", "own", as_csv(OWN_FACTS)),
    ("any.jsonl", "own", as_lines(OWN_FACTS)),
]


@pytest.mark.parametrize(("name", "kind", "data"), WHOLE, ids=range(len(WHOLE)))
def test_a_whole_file_gives_all_its_requests(tmp_path, name, kind, data):
    requests = ask(tmp_path / name, data, kind)
    assert len(requests) == len(read_entries(tmp_path / name)) >= 1


@pytest.mark.parametrize("cut", range(0, 100, 7))
def test_a_file_that_is_cut_off_gives_no_request_that_it_did_not_hold(tmp_path, cut):
    """Lines may end where a file is cut off; what is left is then a smaller file.

    Of CSV the last cell may be shorter, which nobody can tell.
    """
    for name, kind, data in WHOLE:
        whole = ask(tmp_path / name, data, kind)
        left = ask(tmp_path / name, data[: len(data) * cut // 100], kind, skip_bad=True)
        if left is not None:
            assert name.endswith((".jsonl", ".csv", ".tsv"))
            last = not name.endswith(".jsonl")
            assert set(left[: len(left) - last]) <= set(whole)


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(
    file=st.sampled_from(WHOLE),
    changes=st.lists(
        st.tuples(st.floats(0, 0.999), st.binary(max_size=4), st.integers(0, 6)),
        min_size=1,
        max_size=3,
    ),
    skip_bad=st.booleans(),
)
def test_any_damage_to_a_file_is_requests_or_refused(tmp_path_factory, file, changes, skip_bad):
    name, kind, data = file
    for at, put, out in changes:
        i = int(at * len(data))
        data = data[:i] + put + data[i + out :]
    ask(tmp_path_factory.getbasetemp() / name, data, kind, skip_bad)


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(
    records=st.lists(damaged(), min_size=1, max_size=3),
    kind=st.sampled_from([*READERS, OWN]),
    skip_bad=st.booleans(),
)
def test_any_records_of_csv_and_parquet_are_requests_or_refused(
    tmp_path_factory, records, kind, skip_bad
):
    folder = tmp_path_factory.getbasetemp()
    try:
        data = as_csv(records)
    except (UnicodeEncodeError, csv.Error):
        data = b""
    ask(folder / "any.csv", data, kind, skip_bad)
    try:
        data = as_parquet(records)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        data = b"PAR1"
    ask(folder / "any.parquet", data, kind, skip_bad)


@pytest.mark.parametrize(
    "value", [date(2001, 1, 1), Decimal("1.5"), b"\xff", 2.5, True, [date(2001, 1, 1)], {"a": b""}]
)
def test_what_parquet_holds_and_json_does_not_is_refused_by_field(tmp_path, value):
    for name in ("subject", "case_id", "rephrase_prompt"):
        path = tmp_path / "d.parquet"
        path.write_bytes(as_parquet([flat(**{name: value})]))
        with pytest.raises(RequestError, match=f"record 1 .*: field '{name}.*': expected "):
            load_requests(path, "counterfact")


# --- the smallest examples of what was found ---------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("d.json", '[{"case_id": 1}, {"a": 1, "a": 2}]', "record 2: the field 'a' is there twice"),
        ("d.jsonl", '{"a": 1}\n{"b": [{"a": 1, "a": 1}]}\n', "line 2: the field 'a' is there twi"),
        ("d.csv", 'answers\n"{""a"": 1, ""a"": 2}"\n', "line 2: column 'answers': the field 'a'"),
    ],
)
def test_a_field_that_is_there_twice_is_told(tmp_path, name, text, line):
    (tmp_path / name).write_text(text)
    (broken,) = [entry for entry in read_entries(tmp_path / name) if entry.broken]
    assert f"{broken.place}: {broken.broken}".startswith(line)


def test_a_record_with_a_field_twice_can_be_left_out(tmp_path):
    good, bad = json.dumps(fact(1)), json.dumps(fact(2, "Rome"))
    text = f'[{good}, {bad[:-1]}, "case_id": 3}}]'
    (tmp_path / "d.json").write_text(text)
    with pytest.raises(RequestError, match="record 2 .id 3.: the field 'case_id' is there twice"):
        load_requests(tmp_path / "d.json", "counterfact")
    assert len(load_requests(tmp_path / "d.json", "counterfact", skip_bad=True).requests) == 1


def test_a_field_twice_deep_inside_is_no_recursion_without_end(tmp_path):
    deep = '{"a": 1, "a": 2}'
    for _ in range(900):
        deep = f"[{deep}]"
    (tmp_path / "d.json").write_text(f"[{deep}]")
    try:
        (entry,) = read_entries(tmp_path / "d.json")
        assert entry.broken
    except RequestError as error:
        assert "too many times" in str(error)


def test_a_column_of_parquet_that_is_there_twice_is_refused(tmp_path):
    table = pa.table([["a"], ["b"]], names=["subject", "subject"])
    pq.write_table(table, tmp_path / "d.parquet")
    with pytest.raises(RequestError, match="the column 'subject' is there twice; drop one"):
        read_entries(tmp_path / "d.parquet")


def test_a_changed_byte_in_parquet_with_checksums_is_noticed(tmp_path):
    stream = io.BytesIO()
    table = pa.Table.from_pylist([{"subject": "abcdefgh" * 20}])
    pq.write_table(table, stream, compression="none", write_page_checksum=True)
    (tmp_path / "d.parquet").write_bytes(stream.getvalue().replace(b"abcdefgh", b"abcdefgX", 1))
    with pytest.raises(RequestError, match="parquet, but cut off or damaged .*CRC"):
        read_entries(tmp_path / "d.parquet")


def test_the_collector_is_as_before_also_after_an_error(tmp_path):
    with pytest.raises(RequestError):
        load_requests(tmp_path / "absent.json", "counterfact")
    assert gc.isenabled()
    with many_objects(), many_objects():
        assert not gc.isenabled()
    assert gc.isenabled()
