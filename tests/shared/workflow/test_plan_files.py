"""The texts of a plan, named by us, and the hash that freezes it."""

import pytest

from shared.schemas.records import Protocol
from shared.schemas.statuses import StepType
from shared.workflow.plan_files import Line, compose, file_name
from tests.shared.workflow.ground import Ground


@pytest.fixture
def protocol() -> Protocol:
    return Ground().opened()


def plan(protocol: Protocol, *lines: Line, plan_md: str = "how", now: int = 0):
    return compose(protocol, revision=1, summary="sum", plan_md=plan_md, context_md="ctx", lines=lines, now=now)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Mend the cents", "01-mend-the-cents.md"),
        ("../../etc/passwd", "01-etc-passwd.md"),
        ("Größe ändern", "01-groe-andern.md"),
        ("修正", "01-task.md"),
        ("", "01-task.md"),
        ("a\nb\x00c", "01-a-b-c.md"),
        ("x" * 300, "01-" + "x" * 48 + ".md"),
        (".git/hooks", "01-git-hooks.md"),
    ],
)
def test_a_step_file_is_named_by_us_whatever_its_title(name: str, expected: str):
    assert file_name(1, name) == expected


def test_the_files_are_the_contract_the_context_the_setup_and_one_for_each_step(protocol: Protocol):
    made = plan(protocol, Line(1, "one", StepType.WORK, "do", ()), Line(2, "two", StepType.QA, "look", (1,)))
    assert set(made.files) == {"plan.md", "context.md", "00-setup.md", "01-one.md", "02-two.md"}
    assert "| 02 | [two](02-two.md) | qa | 1 |" in made.files["plan.md"]
    assert made.files["01-one.md"] == "# 01 one\n\ndo\n"


def test_a_title_cannot_break_the_table(protocol: Protocol):
    made = plan(protocol, Line(1, "a | b\n| 99 | evil", StepType.WORK, "do", ()))
    rows = [line for line in made.files["plan.md"].splitlines() if line.startswith("|")]
    assert len(rows) == 3
    assert rows[2].count("|") - rows[2].count("\\|") == 5


def test_the_hash_is_that_of_the_contract_alone(protocol: Protocol):
    line = Line(1, "one", StepType.WORK, "do", ())
    other = Line(1, "one", StepType.WORK, "do something else", ())
    assert plan(protocol, line).sha256 == plan(protocol, line, now=99).sha256 == plan(protocol, other).sha256
    assert plan(protocol, line).sha256 != plan(protocol, line, plan_md="otherwise").sha256
    assert plan(protocol, line).sha256 != plan(protocol, Line(2, "one", StepType.WORK, "do", ())).sha256


def test_the_order_of_the_steps_does_not_matter(protocol: Protocol):
    one, two = Line(1, "one", StepType.WORK, "do", ()), Line(2, "two", StepType.WORK, "do", ())
    assert plan(protocol, one, two).files == plan(protocol, two, one).files
