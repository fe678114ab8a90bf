"""The last lines of a run."""

from modeledit.presentation.closing import closing_lines


def test_what_is_there_is_named_the_report_first(tmp_path):
    assert closing_lines(tmp_path) == []
    (tmp_path / "metrics.csv").touch()
    (tmp_path / "report.html").touch()
    first, last = closing_lines(tmp_path)
    assert first.split(maxsplit=1)[0] == str(tmp_path / "report.html") and "browser" in first
    assert last.split(maxsplit=1)[0] == str(tmp_path / "metrics.csv")
    assert first.index("everything") == last.index("every run")
