"""Progress on three screens: bars, lines, JSON. All three say the same."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from growi_transfer.cli.output import Output, duration, size, table
from growi_transfer.cli.render import LINE_SECONDS, Bars, JsonLines, PlainLines, reporter
from growi_transfer.protocol.machine import Position, State
from growi_transfer.protocol.progress import Notice, Snapshot
from growi_transfer.protocol.shape import to_json


def snapshot(state: State = State.COPYING, **changes: object) -> Snapshot:
    values: dict[str, object] = {
        "documents_done": 1234,
        "documents_total": 100_000,
        "bytes_done": 3 << 20,
        "bytes_total": 350 << 20,
        "files_done": 7,
        "files_total": 3000,
        "files_failed": 2,
        "bytes_per_second": float(120 << 20),
    }
    return Snapshot("0" * 32, "pusher", position=Position(state), **{**values, **changes})  # type: ignore[arg-type]


def test_plain_lines_come_with_each_state_and_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    now = [100.0]
    lines = PlainLines(Output(), lambda: now[0])
    for step, state in enumerate([State.COPYING] * 20 + [State.VERIFYING] * 3):
        now[0] = 100.0 + step * LINE_SECONDS / 10
        lines.show(snapshot(state))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert [line.split(",")[0] for line in shown.err.splitlines()] == ["copying", "copying", "verifying"]
    assert "documents 1,234 of 100,000" in shown.err
    assert "2 failed" in shown.err


def test_json_lines_are_the_public_shape(capsys: pytest.CaptureFixture[str]) -> None:
    JsonLines(Output()).show(snapshot())
    assert json.loads(capsys.readouterr().out) == to_json(snapshot())


def test_the_reporter_fits_where_the_output_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    output = Output()
    assert isinstance(reporter(output), PlainLines)
    monkeypatch.setattr("sys.stderr", type("Terminal", (io.StringIO,), {"isatty": lambda _: True})())
    assert isinstance(reporter(output), Bars)
    output.json = True
    assert isinstance(reporter(output), JsonLines)


def test_bars_fit_in_80_columns_and_leave_the_last_state() -> None:
    stream = io.StringIO()
    bars = Bars(Console(file=stream, width=80, force_terminal=True, color_system=None, legacy_windows=False))
    bars.show(snapshot())
    bars.show(snapshot(State.VERIFYING, documents_done=100_000, bytes_done=350 << 20, files_done=3000, files_failed=0))
    bars.close()
    text = stream.getvalue()
    assert "copying: copying" not in text
    assert "verifying" in text
    last = text.rsplit("verifying", 1)[1]
    assert "100,000 of 100,000" in last
    assert "3,000 of 3,000" in last
    assert text.endswith("\x1b[?25h")
    assert max(len(line) for line in last.replace("\r", "\n").splitlines()) <= 80 + 20  # with the codes that move up


def test_bars_know_no_total_yet() -> None:
    stream = io.StringIO()
    bars = Bars(Console(file=stream, width=80, color_system=None))
    bars.show(Snapshot("0" * 32, "pusher"))
    bars.close()
    assert "preparing" in stream.getvalue()


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (1023, "1,023 B"), (1024, "1.0 KiB"), (350 << 20, "350.0 MiB"), (1 << 50, "1,024.0 TiB")],
)
def test_sizes(number: int, text: str) -> None:
    assert size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (61, "1 min 01 s"), (3661, "1 h 01 min"), (90000, "25 h 00 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_table_has_no_spaces_at_line_ends() -> None:
    assert table(["A", "LONG"], [["1", ""], ["22", "x"]]) == ["A   LONG", "1", "22  x"]


def test_a_warning_that_comes_up_on_the_way_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    known, away = Notice("destination_not_empty", "Three pages."), Notice("destination_away", "It does not [b]answer.")
    screen = io.StringIO()
    lines, bars = PlainLines(Output()), Bars(Console(file=screen, width=80))
    for warnings in ((known,), (known, away), (known, away), (known,), (known, away)):
        lines.show(snapshot(warnings=warnings))
        bars.show(snapshot(warnings=warnings))
    bars.close()
    for shown in (capsys.readouterr().err, screen.getvalue()):
        assert shown.count("warning: It does not [b]answer. (destination_away)") == 2, "it came twice"
        assert "Three pages" not in shown


def test_a_long_fact_goes_on_below_its_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "warning      " + "words " * 30 + "(code)"
    Output().fact(line)
    assert capsys.readouterr().out == line + "\n", "a program gets one line"
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    Output().fact(line)
    first, *more = capsys.readouterr().out.splitlines()
    assert len(first) <= 80
    assert more
    assert all(len(one) <= 80 and one.startswith(" " * 13 + "words") for one in more)


def test_text_that_the_terminal_cannot_show(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii"))
    Output().result("ページ")
    assert raw.getvalue() == b"\\u30da\\u30fc\\u30b8\n"
