"""What is drawn: on a real terminal, live; in one line what an agent did; and nothing in it steers the terminal."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path

import pytest

from services.cli.text import block, line, span
from shared.schemas.reports import Usage
from shared.schemas.statuses import JobKind
from shared.workflow.jobs import note_attempt
from tests.api.house import ADMIN, WORKER
from tests.cli.served import SOON_S, Line
from tests.waiting import until

ROOT = Path(__file__).parents[2]
HOSTILE = "\x1b]0;title\x07\x1b[2J\u202egnp.exe\x9b31m <img onerror=x> [red]x[/red] :smile:"


class Terminal:
    """A program on a terminal of 30 lines; `text` is everything that it wrote, without its colours."""

    def __init__(self, *words: str, **environment: str) -> None:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "services.cli", *words],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"} | environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.raw = ""
        self._reading = threading.Thread(target=self._read, args=(ours,))
        self._reading.start()

    def _read(self, ours: int) -> None:
        while True:
            try:
                data = os.read(ours, 65_536)
            except OSError:  # its last program has left
                break
            self.raw += data.decode(errors="replace")
        os.close(ours)

    @property
    def text(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.raw)

    def end(self) -> int:
        code = self.process.wait(SOON_S)
        self._reading.join(SOON_S)
        return code


def settings(cli: Line) -> dict[str, str]:
    return {name: value for name, value in cli.environment.items() if "API" in name}


def test_on_a_terminal_a_run_is_drawn_live_with_what_its_agent_does(cli: Line, name: str) -> None:
    run = cli.do(cli.house.planned(cli.do(cli.house.project(name)), "One", policy={"progression": "auto"}))
    claim = cli.do(cli.house.claim(JobKind.EXECUTE))
    folder = cli.house.settings.workspaces_dir / name
    folder.mkdir(parents=True)
    cli.do(cli.house.flow.run(WORKER, note_attempt, claim.job.id, claim.job.token, Usage(), name))
    terminal = Terminal("watch", str(run), **settings(cli))
    until(lambda: "executing" in terminal.text, within=SOON_S)
    item = {"type": "agent_message", "text": f"I look {HOSTILE}", "id": "1"}
    (folder / "events.jsonl").write_text(json.dumps({"type": "item.completed", "item": item}) + "\n")
    until(lambda: "› I look" in terminal.text, within=SOON_S)
    assert "\x1b[2J" not in terminal.raw
    assert "\u202e" not in terminal.raw
    assert "0 of 1 step" in terminal.text
    cli.do(cli.house.client.post(f"/protocols/{run}/actions/cancel", headers=ADMIN))
    assert terminal.end() == 6
    assert terminal.text.rstrip().endswith("0 of 1 step")
    assert "\x1b[?25h" in terminal.raw  # the cursor is back


def test_colours_go_to_a_terminal_that_wants_them(cli: Line, name: str) -> None:
    cli.do(cli.house.project(name))
    colourful, plain = (Terminal("project", "list", **settings(cli), **more) for more in ({}, {"NO_COLOR": "1"}))
    assert colourful.end() == plain.end() == 0
    assert "\x1b[" in colourful.raw
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", plain.raw)


def test_a_diff_goes_through_the_pager_of_a_terminal(cli: Line, name: str) -> None:
    run = cli.do(cli.house.planned(cli.do(cli.house.project(name))))
    cli.told("next", run)
    folder = cli.house.settings.workspaces_dir / name
    folder.mkdir(parents=True)
    (folder / "branch.patch").write_text("+x\n")
    cli.do(cli.house.execute(directory=name))
    terminal = Terminal("diff", str(run), **settings(cli), PAGER="sed s/^/paged:/")
    assert terminal.end() == 0
    assert "paged:" in terminal.text


def test_hostile_words_are_told_and_do_nothing(cli: Line, name: str) -> None:
    run = cli.do(cli.house.planned(cli.do(cli.house.project(name)), HOSTILE.replace("\x07", " ")))
    for words in (("status", run), ("explain", f"{run}.1"), ("cancel", f"{run}.1")):
        told = cli.told(*words)
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", told)
        assert "[red]x[/red] :smile:" in told


def test_texts_are_one_line_or_keep_their_lines() -> None:
    assert line("  two\r\n lines\tand\x1b[31m more ") == "two lines\\tand\\e[31m more"
    assert block("a\tb\r\n\x1b[31mc") == "a       b\n\\e[31mc"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0s"), (59.9, "59s"), (61, "1m 01s"), (3700, "1h 01m"), (90_000, "1d 1h"), (-3, "0s")]
)
def test_a_span_of_time_is_told_by_its_two_largest_units(seconds: float, text: str) -> None:
    assert span(seconds) == text
