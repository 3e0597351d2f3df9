"""The drawn diagram says what the tables say, and README shows it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from shared.states import diagram, protocol, step

README = Path(__file__).parents[3] / "README.md"


def drawn(text: str) -> set[tuple[str, str, str]]:
    """The arrows (from, to, trigger) of one drawing, with `open` and the choice written out again."""
    arrows: set[tuple[str, str, str]] = set()
    for source, to, labels in re.findall(r"^ *([a-z_]+) --> ([a-z_]+)(?:: (.*))?$", text, re.MULTILINE):
        arrows |= {(source, to, label) for label in (labels or "").split(", ")}
    choices = {to for source, to, _ in arrows if source == diagram.CHOICE}
    inner = {source for source, _, _ in arrows} - {"open", diagram.CHOICE}
    spelled: set[tuple[str, str, str]] = set()
    for source, to, label in arrows:
        for each in inner if source == "open" else {source} - {diagram.CHOICE}:
            spelled |= {(each, end, label) for end in (choices if to == diagram.CHOICE else {to})}
    return {(source, to, label) for source, to, label in spelled if source != to}


@pytest.fixture
def drawings() -> list[str]:
    return re.findall(r"```mermaid\n(.*?)```", diagram.block(), re.DOTALL)


def test_the_protocol_drawing_has_exactly_the_moves_of_its_table(drawings: list[str]):
    moves = {(source, to, trigger) for (source, trigger), ends in protocol.TABLE.items() for to in ends if to != source}
    assert drawn(drawings[0]) == {tuple(map(str, move)) for move in moves}


def test_the_step_drawing_has_exactly_the_moves_of_its_table(drawings: list[str]):
    moves = {(source, to, trigger) for (source, trigger), to in step.TABLE.items() if to != source}
    assert drawn(drawings[1]) == {tuple(map(str, move)) for move in moves}


def test_each_drawing_is_small_enough_to_read(drawings: list[str]):
    assert all(len(text.splitlines()) <= 45 for text in drawings)


def test_the_module_prints_the_block():
    run = subprocess.run([sys.executable, "-m", "shared.states.diagram"], capture_output=True, text=True, check=True)
    assert run.stdout == diagram.block() + "\n"


def test_the_readme_shows_the_diagram_as_it_is():
    text = README.read_text()
    shown = text[text.index(diagram.BEGIN) : text.index(diagram.END) + len(diagram.END)]
    assert shown == diagram.block(), "paste the output of `python -m shared.states.diagram` between the markers"
