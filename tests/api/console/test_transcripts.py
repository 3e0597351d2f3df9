"""Transcripts: every item once, from either end, whatever lies between."""

import json
from pathlib import Path

import pytest

from services.api.console import transcripts
from tests.api.console import scenes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "one").mkdir()
    return tmp_path


def write(folder: Path, *lines: str) -> None:
    (folder / "one/events.jsonl").write_text("".join(f"{line}\n" for line in lines))


def texts(window: transcripts.Window) -> list[str]:
    return [entry.text for entry in window.entries]


def test_pages_backwards_show_each_item_once(folder: Path) -> None:
    write(folder, *(scenes.message(f"m{number}") for number in range(25)), '{"type":"turn.started"}')
    found: list[str] = []
    page = transcripts.last(folder, "one", limit=10)
    while True:
        found = texts(page) + found
        if not page.earlier:
            break
        page = transcripts.last(folder, "one", limit=10, before=page.earlier)
    assert found == [f"m{number}" for number in range(25)]


def test_what_comes_later_goes_on_where_the_page_ended(folder: Path) -> None:
    write(folder, scenes.message("one"))
    page = transcripts.last(folder, "one", limit=10)
    log = folder / "one/events.jsonl"
    log.write_text(log.read_text() + scenes.message("two") + "\n" + scenes.message("three")[:20])
    later = transcripts.news(folder, "one", after=page.end)
    assert texts(later) == ["two"]
    assert texts(transcripts.news(folder, "one", after=later.end)) == []
    log.write_text(log.read_text() + scenes.message("three")[20:] + "\n")
    assert texts(transcripts.news(folder, "one", after=later.end)) == ["three"]


def test_a_line_that_is_longer_than_a_window_is_gone_past(folder: Path) -> None:
    write(folder, scenes.message("before"), scenes.message("x" * (2 * transcripts.WINDOW)), scenes.message("behind"))
    assert texts(transcripts.last(folder, "one", limit=10)) == ["behind"]
    start = len(scenes.message("before")) + 1
    assert texts(transcripts.news(folder, "one", after=start))[-1:] == ["behind"]
    page, seen = transcripts.last(folder, "one", limit=10), list[str]()
    while page.earlier:
        page = transcripts.last(folder, "one", limit=10, before=page.earlier)
        seen += texts(page)
    assert seen == ["before"]


def test_a_page_holds_no_more_than_a_person_reads(folder: Path) -> None:
    write(folder, *(scenes.command(f"run {number}", "z" * 15_000) for number in range(100)))
    page = transcripts.last(folder, "one", limit=100)
    assert 10 < len(page.entries) < 15
    assert page.earlier


def test_a_command_that_is_over_is_told_once(folder: Path) -> None:
    begun = json.dumps({"type": "item.started", "item": {"id": "i", "type": "command_execution", "command": "make"}})
    write(folder, begun)
    assert [entry.live for entry in transcripts.last(folder, "one", limit=5).entries] == [True]
    write(folder, begun, scenes.command("make", "done"))
    assert [entry.live for entry in transcripts.last(folder, "one", limit=5).entries] == [False]


def test_colours_of_a_terminal_are_left_out_and_answers_are_opened(folder: Path) -> None:
    answer = json.dumps({"summary": "All is **well**.", "verdict": "pass"})
    write(folder, scenes.command("ls", "\x1b[1;32mgreen\x1b[0m\x1b[K"), scenes.message(answer), scenes.message("{no"))
    command, verdict, rest = transcripts.last(folder, "one", limit=5).entries
    assert command.output == "green"
    assert verdict.said == "<p>All is <strong>well</strong>.</p>\n"
    assert '"verdict": "pass"' in verdict.data
    assert (rest.text, rest.data) == ("{no", "")


def test_an_answer_that_is_too_deep_to_be_read_is_shown_as_it_is(folder: Path) -> None:
    write(folder, scenes.message(deep := '{"x":' * 3000), scenes.message("after"))
    assert [(entry.text, entry.data) for entry in transcripts.last(folder, "one", limit=5).entries] == [
        (deep, ""),
        ("after", ""),
    ]


def test_where_nothing_is_there_is_nothing(folder: Path) -> None:
    assert transcripts.last(folder, "none", limit=5).entries == ()
    assert transcripts.last(folder, None, limit=5).entries == ()
    assert transcripts.news(folder, "../..", after=0).entries == []
