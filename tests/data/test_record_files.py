"""Files of records: formats told by content, encodings, and what is wrong said in one line."""

import bz2
import csv
import gzip
import json
import re
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeledit.data.record_files import Entry, UserFiles, read_entries
from modeledit.data.records import RequestError
from modeledit.io.files import file_digest

RECORDS = [{"case_id": 1, "prompt": "Zürich 東京"}, {"case_id": 2, "prompt": "a\u2028b"}]


def written(path, data):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def values(path):
    entries = read_entries(path)
    assert not any(entry.broken for entry in entries)
    return [entry.value for entry in entries]


def lines(records):
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


@pytest.mark.parametrize("name", ["data.json", "data.jsonl", "data.txt", "data"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("packed", [False, True])
def test_json_in_any_unicode_is_read_whatever_its_name(tmp_path, name, encoding, packed):
    for text in (json.dumps(RECORDS, ensure_ascii=False, indent=1), lines(RECORDS)):
        data = text.encode(encoding)
        path = written(tmp_path / name, gzip.compress(data) if packed else data)
        assert values(path) == RECORDS


def test_places_are_records_of_a_list_and_lines_of_lines(tmp_path):
    path = written(tmp_path / "data.json", json.dumps(RECORDS))
    assert [entry.place for entry in read_entries(path)] == ["record 1", "record 2"]
    path = written(tmp_path / "data.jsonl", "\n" + lines(RECORDS).replace("\n", "\r\n\n"))
    assert [entry.place for entry in read_entries(path)] == ["line 2", "line 4"]
    assert values(path) == RECORDS


@pytest.mark.parametrize("packed", [False, True])
def test_parquet_is_read_and_a_null_is_no_field(tmp_path, packed):
    records = [
        {"case_id": 1, "rewrite": {"str": "a"}, "texts": ["x", "y"]},
        {"case_id": None, "rewrite": {"str": "b"}, "texts": []},
    ]
    path = tmp_path / "data.bin"
    pq.write_table(pa.Table.from_pylist(records), path)
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    del records[1]["case_id"]
    assert values(path) == records


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_csv_is_read_with_its_separator(tmp_path, separator, encoding):
    rows = [
        ["case_id", "prompt", "rephrase_prompt", "ground_truth"],
        ["1", '"{} is, in; or\tso"', '"[""a"", ""b""]"', "NA"],
        [],
        ["2", "[not json", "one text", ""],
    ]
    text = "\r\n".join(separator.join(row) for row in rows)
    path = written(tmp_path / "data.csv", text.encode(encoding))
    assert read_entries(path) == [
        Entry(
            "line 2",
            {
                "case_id": "1",
                "prompt": "{} is, in; or\tso",
                "rephrase_prompt": ["a", "b"],
                "ground_truth": "NA",
            },
        ),
        Entry("line 4", {"case_id": "2", "prompt": "[not json", "rephrase_prompt": "one text"}),
    ]


def test_a_cell_may_be_longer_than_the_library_allows(tmp_path):
    long = "x" * (csv.field_size_limit() + 1)
    before = csv.field_size_limit()
    assert values(written(tmp_path / "d.csv", f"a,b\n1,{long}\n")) == [{"a": "1", "b": long}]
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("d.json", b"", "the file is empty; fetch or write it again"),
        ("d.json", b"\xef\xbb\xbf \n", "the file is empty"),
        ("d.json", b"[]", "no record in it"),
        ("d.jsonl", b"\n \n", "the file is empty"),
        ("d.csv", b"case_id,prompt\n", "no record in it"),
        ("d.json", b'[{"a": 1}, {"b": "x', "line 1, column 18: not JSON: .*cut off"),
        ("d.json", b'[{"a": 1},\n {"b"', "line 2, column 6: not JSON: .*cut off"),
        ("d.json", b'[{"a": 1}', "cut off"),
        ("d.json", b'{"a": 1', "cut off"),
        ("d.json", b"[{'a': 1}]", "line 1, column 3: not JSON: .*; correct it"),
        ("d.json", b'[{"a": 1}] x', "line 1, column 12: not JSON: Extra data"),
        ("d.json", b"[" * 100_000, "inside each other too many times"),
        ("d.json", b'[{"id": ' + b"9" * 5000 + b"}]", "Exceeds the limit"),
        ("d.json", b'{"data": [{"a": 1}]}', "got one object with the fields 'data'"),
        ("d.json", b"17", "expected a list of records, got 17"),
        ("d.json", b"prompt: x", "not JSON, .* begins with 'prompt: x'"),
        ("d.json", '[{"a": "Zürich"}]'.encode("latin-1"), "line 1: byte 0xfc is not UTF-8"),
        ("d.json", b"\xff\xfe[\0]", "is not UTF-16"),
        ("d.json", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("d.json", b"<!doctype html>", "a web page"),
        ("d.json", bz2.compress(b"[]"), "compressed with bzip2"),
        ("d.json", gzip.compress(b"[]" * 50, mtime=0)[:-9], "gzip, but cut off or damaged"),
        ("d.json", b"\x1f\x8bxxxxxx", "gzip, but cut off or damaged"),
        ("d.parquet", b"PAR1" + b"x" * 50, "parquet, but cut off or damaged"),
        ("d.csv", b'a,b\n1,"x\n', "line 2: not CSV: .*a quote not closed"),
        ("d.csv", b"a,a\n1,2\n", "names column 'a' twice"),
    ],
)
def test_what_is_no_file_of_records_is_said_in_one_line(tmp_path, name, data, message):
    path = written(tmp_path / name, data)
    with pytest.raises(RequestError, match=message) as error:
        read_entries(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_a_zip_a_folder_and_no_file_are_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "d.json", "w") as archive:
        archive.writestr("d.json", "[]")
    with pytest.raises(RequestError, match="d.json: this is a zip archive; unpack it"):
        read_entries(tmp_path / "d.json")
    for path in (tmp_path, tmp_path / "absent.json"):
        with pytest.raises(RequestError, match=f"{path}: .*name a file that can be read"):
            read_entries(path)


@pytest.mark.parametrize(
    ("name", "text", "broken"),
    [
        ("d.jsonl", '{"a": 1}\n{"a": \n{"a": 3}\n', "line 2: not JSON: .*begins with"),
        ("d.json", '{"a": 1}\nnothing\n{"a": 3}\n', "line 2: not JSON"),
        ("d.csv", "a\n1\nx,y\n3\n", "line 3: 2 cells for 1 columns"),
        ("d.csv", 'answers,a\n[1],1\n[1,1\n"[2]",3\n', "line 3: column 'answers': not JSON"),
    ],
)
def test_one_broken_line_leaves_the_others(tmp_path, name, text, broken):
    entries = read_entries(written(tmp_path / name, text))
    bad = [f"{entry.place}: {entry.broken}" for entry in entries if entry.broken]
    assert len(entries) == 3 and len(bad) == 1
    assert re.match(broken, bad[0])


def test_a_user_s_file_is_read_once_for_its_count_and_digest(tmp_path, monkeypatch):
    path = written(tmp_path / "d.json", gzip.compress(json.dumps(RECORDS).encode()))
    reads, read = [], Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: reads.append(self) or read(self))
    files = UserFiles()
    assert files.count(path) == 2
    monkeypatch.chdir(tmp_path)
    assert files.digest(Path("d.json")) == file_digest(path)
    assert files.count(path) == 2
    assert reads == [path]
    with pytest.raises(RequestError, match="embedded null byte; name a file that can be read"):
        files.count(tmp_path / "a\0b")


@given(data=st.binary(max_size=60), name=st.sampled_from(["d.json", "d.jsonl", "d.csv"]))
def test_any_bytes_are_records_or_refused(tmp_path_factory, data, name):
    path = written(tmp_path_factory.getbasetemp() / name, data)
    try:
        assert read_entries(path)
    except RequestError as error:
        assert str(error).startswith(str(path))


@given(
    start=st.sampled_from(["[", "{", "", "\ufeff[", '{"a": 1}\n', "a,b\n", '[{"a": "']),
    text=st.text(st.sampled_from('[]{}",:\n\r\t a1\\ue\ud800\ufeff;.-'), max_size=30),
    name=st.sampled_from(["d.json", "d.jsonl", "d.csv", "d.gz"]),
    encoding=st.sampled_from(["utf-8", "utf-16"]),
)
def test_any_text_is_records_or_refused(tmp_path_factory, start, text, name, encoding):
    data = (start + text).encode(encoding, errors="surrogatepass")
    path = written(tmp_path_factory.getbasetemp() / name, data)
    try:
        assert read_entries(path)
    except RequestError as error:
        assert str(error).startswith(str(path))


@given(
    records=st.lists(
        st.dictionaries(st.text(max_size=3), st.none() | st.integers() | st.text(max_size=4)),
        min_size=2,
        max_size=4,
    )
)
def test_what_is_written_as_json_or_lines_is_read_back(tmp_path_factory, records):
    folder = tmp_path_factory.getbasetemp()
    for ascii in (True, False):
        text = json.dumps(records, ensure_ascii=ascii)
        assert values(written(folder / "back.json", text)) == records
        text = "\n".join(json.dumps(record, ensure_ascii=ascii) for record in records)
        assert values(written(folder / "back.jsonl", text)) == records
