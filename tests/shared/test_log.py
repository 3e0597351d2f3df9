"""The log: one line per record whatever is in it, with its ids and without secrets."""

import io
import json
import logging
import re
import warnings

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared import log
from shared.redaction import Redactor

SAME_HANDLER_FOR_ALL_EXAMPLES = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def machine() -> io.StringIO:
    stream = io.StringIO()
    log.configure(as_json=True, redactor=Redactor(["hunter2000"]), stream=stream)
    return stream


@pytest.fixture
def person() -> io.StringIO:
    stream = io.StringIO()
    log.configure(as_json=False, redactor=Redactor(["hunter2000"]), stream=stream)
    return stream


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def fail(message: str) -> None:
    raise ValueError(message)


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("never")


def ours() -> structlog.stdlib.BoundLogger:
    # pytest adds handlers that show every argument with `%`; here only ours is looked at.
    logging.getLogger().handlers = [each for each in logging.getLogger().handlers if each.filters]
    return structlog.stdlib.get_logger("shared.test")


def only(stream: io.StringIO) -> dict[str, object]:
    lines = stream.getvalue().splitlines()
    assert len(lines) == 1, lines
    return json.loads(lines[0])


def test_a_record_has_its_time_in_utc_its_level_its_logger_and_its_values(machine: io.StringIO):
    ours().info("job_claimed", worker="w1", slots=2)
    record = only(machine)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", str(record.pop("timestamp")))
    assert record == {"level": "info", "logger": "shared.test", "event": "job_claimed", "worker": "w1", "slots": 2}


def test_what_was_bound_is_on_every_record_even_of_libraries(machine: io.StringIO):
    with structlog.contextvars.bound_contextvars(request_id="r-1", protocol=3, step=4, job=5, attempt=6):
        logging.getLogger("litestar").warning("slow %s", "answer")
    assert {name: only(machine)[name] for name in log.IDS} == {
        "request_id": "r-1",
        "protocol": 3,
        "step": 4,
        "job": 5,
        "attempt": 6,
    }
    assert only(machine)["event"] == "slow answer"


def test_records_below_the_level_are_not_written(machine: io.StringIO):
    ours().debug("quiet")
    logging.getLogger("uvicorn.error").debug("quiet")
    assert machine.getvalue() == ""


def test_libraries_with_a_line_per_request_or_job_are_heard_from_warnings_on(machine: io.StringIO):
    for name in log.QUIET:
        logging.getLogger(f"{name}.part").info("quiet")
    logging.getLogger("arq.worker").warning("loud")
    assert only(machine)["event"] == "loud"


def test_a_secret_is_in_no_part_of_a_record(machine: io.StringIO):
    try:
        fail("hunter2000")
    except ValueError:
        ours().exception("got hunter2000", url="https://u:hunter2000@h", api_key="k", deep=[{"x": b"hunter2000"}])
    logging.getLogger("httpx").warning("GET %s", "https://h/?token=hunter2000")
    assert "hunter2000" not in machine.getvalue()
    assert machine.getvalue().count("***") >= 5


def test_an_exception_is_a_text_within_the_one_line(machine: io.StringIO):
    try:
        fail("first\nsecond")
    except ValueError:
        ours().exception("failed")
    record = only(machine)
    assert record["level"] == "error"
    assert "Traceback" in str(record["exception"])
    assert "first\nsecond" in str(record["exception"])


def test_a_person_sees_where_it_happened_instead_of_a_traceback(person: io.StringIO):
    try:
        fail("first\nsecond")
    except ValueError:
        ours().exception("failed")
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.\d{3}  error   failed  "
        r"exception=ValueError: first\\nsecond at test_log\.py:\d+ in fail, test_log\.py:\d+ in test_a_person_\w+\n",
        person.getvalue(),
    )


def test_arguments_that_do_not_fit_the_message_are_written_with_it(machine: io.StringIO):
    logging.getLogger("library").warning("%d of %d", "one")  # noqa: PLE1206  that is the point
    assert only(machine)["event"] == "%d of %d ('one',)"


def test_an_argument_that_cannot_be_shown_is_no_error(machine: io.StringIO):
    ours().warning("seen", what=Hostile())
    logging.getLogger("library").warning("seen %s", Hostile())
    assert len(machine.getvalue().splitlines()) == 2


def test_a_warning_of_python_is_a_record(machine: io.StringIO):
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.warn("old\nways", DeprecationWarning, stacklevel=1)
    assert only(machine)["logger"] == "py.warnings"


def test_a_very_long_text_is_cut_after_it_was_redacted(machine: io.StringIO):
    ours().info("x" * (log.MAX_TEXT_CHARS - 4) + "hunter2000" + "y" * 1000)
    event = str(only(machine)["event"])
    assert event.endswith("x***y… (17383 characters)")
    assert "hunt" not in event


def test_a_person_is_told_the_same_in_short(person: io.StringIO):
    with structlog.contextvars.bound_contextvars(job=5):
        ours().warning("redis_lost", error="refused", list=[1, "a"])
    assert re.fullmatch(
        r'\d\d:\d\d:\d\d\.\d{3}  warning redis_lost  job=5  error=refused  list=\[1, "a"\]\n', person.getvalue()
    )


def test_a_terminal_gets_colours_and_a_pipe_gets_json():
    terminal, pipe = Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        log.configure(stream=stream)
        ours().info("hello")
    assert "\x1b[32minfo" in terminal.getvalue()
    assert json.loads(pipe.getvalue())["event"] == "hello"


def test_configuring_twice_writes_once():
    first, second = io.StringIO(), io.StringIO()
    for stream in (first, second):
        log.configure(as_json=True, stream=stream)
    ours().info("hello")
    assert first.getvalue() == ""
    assert only(second)["event"] == "hello"


ANY_VALUE = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(st.characters()) | st.binary() | st.builds(Hostile),
    lambda each: (
        st.lists(each, max_size=3) | st.dictionaries(st.text(st.characters()) | st.integers(), each, max_size=3)
    ),
    max_leaves=8,
)


@SAME_HANDLER_FOR_ALL_EXAMPLES
@given(event=st.text(st.characters()), value=ANY_VALUE, name=st.text(st.characters(), min_size=1, max_size=8))
def test_whatever_is_in_a_record_it_is_one_line_of_json(machine: io.StringIO, event: str, value: object, name: str):
    machine.seek(0)
    machine.truncate()
    log_it = {"value": value, **({} if name in {"event", "self"} else {name: value})}
    ours().warning(event, **log_it)
    assert machine.getvalue().isascii()
    assert machine.getvalue().isprintable() or machine.getvalue().removesuffix("\n").isprintable()
    json.loads(machine.getvalue(), parse_constant=pytest.fail)


@SAME_HANDLER_FOR_ALL_EXAMPLES
@given(event=st.text(st.characters()), value=ANY_VALUE)
def test_whatever_is_in_a_record_a_person_sees_one_line(person: io.StringIO, event: str, value: object):
    person.seek(0)
    person.truncate()
    ours().warning(event, value=value)
    logging.getLogger("library").warning("%s", event)
    written = person.getvalue()
    assert written.endswith("\n")
    assert len(written.splitlines()) == 2
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", written)


@pytest.mark.parametrize("header", ["a", "A-Z_0.9", "x" * 64, "0b1d8f5e-3a52-4c4e-8a39-2f1f8d3f7c11"])
def test_a_harmless_request_id_is_kept(header: str):
    assert log.request_id_from(header) == header


@pytest.mark.parametrize("header", [None, "", "a\nb\x1b[31m", "x" * 65, "a b", "é", "a\n", "<script>", "a;b"])
def test_any_other_request_id_is_replaced_by_a_new_one(header: str | None):
    new = log.request_id_from(header)
    assert re.fullmatch(r"[0-9a-f]{16}", new)
    assert new != log.request_id_from(header)
