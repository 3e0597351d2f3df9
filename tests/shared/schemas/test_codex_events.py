"""The lines that Codex writes; those below were written by version 0.163.0."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.schemas.codex_events import (
    AgentMessage,
    Change,
    CommandExecution,
    ErrorNotice,
    Event,
    FileChange,
    ItemCompleted,
    ItemStarted,
    LineSplitter,
    McpToolCall,
    OtherItem,
    ThreadStarted,
    TurnCompleted,
    TurnFailed,
    TurnStarted,
    Unknown,
    Usage,
    Warned,
    WebSearch,
    parse_event,
    parse_token_count,
)


@pytest.mark.parametrize(
    ("line", "event"),
    [
        ('{"type":"thread.started","thread_id":"01a2"}', ThreadStarted("01a2")),
        ('{"type":"turn.started"}', TurnStarted()),
        (
            (
                '{"type":"turn.completed","usage":{"input_tokens":210,"cached_input_tokens":80,'
                '"cache_write_input_tokens":0,"output_tokens":40,"reasoning_output_tokens":10}}'
            ),
            TurnCompleted(Usage(210, 80, 40, 10)),
        ),
        (
            '{"type":"turn.failed","error":{"message":"unexpected status 401 Unauthorized: no"}}',
            TurnFailed("unexpected status 401 Unauthorized: no"),
        ),
        ('{"type":"error","message":"Reconnecting... 1/5 (…)"}', ErrorNotice("Reconnecting... 1/5 (…)")),
        (
            '{"type":"item.completed","item":{"id":"item_0","type":"error","message":"Model metadata not found"}}',
            ItemCompleted(Warned("Model metadata not found")),
        ),
        (
            '{"type":"item.completed","item":{"id":"item_3","type":"agent_message","text":"{}"}}',
            ItemCompleted(AgentMessage("{}")),
        ),
        (
            (
                '{"type":"item.started","item":{"id":"item_1","type":"command_execution","command":"/bin/bash -c ls",'
                '"aggregated_output":"","exit_code":null,"status":"in_progress"}}'
            ),
            ItemStarted(CommandExecution("/bin/bash -c ls", "", None, "in_progress")),
        ),
        (
            (
                '{"type":"item.completed","item":{"id":"item_2","type":"file_change",'
                '"changes":[{"path":"/w/NEW.md","kind":"add"}],"status":"completed"}}'
            ),
            ItemCompleted(FileChange((Change("/w/NEW.md", "add"),), "completed")),
        ),
        (
            '{"type":"item.started","item":{"id":"item_1","type":"web_search","id":"ws_1","query":"foo","action":{}}}',
            ItemStarted(WebSearch("foo")),
        ),
        (
            (
                '{"type":"item.completed","item":{"id":"item_2","type":"mcp_tool_call","server":"echo","tool":"t",'
                '"arguments":{"s":"zz"},"result":{"content":[]},"error":null,"status":"completed"}}'
            ),
            ItemCompleted(McpToolCall("echo", "t", "completed")),
        ),
        ('{"type":"item.updated","item":{"id":"i","type":"todo_list"}}', ItemCompleted(OtherItem("todo_list"))),
        (
            '{"type":"item.completed","item":{"type":"agent_message","text":7}}',
            ItemCompleted(OtherItem("agent_message")),
        ),
        ('{"type":"item.completed","item":7}', ItemCompleted(OtherItem("unreadable"))),
        ('{"type":"item.completed"}', ItemCompleted(OtherItem(""))),
        ('{"type":"from.the.future","x":1}', Unknown("from.the.future")),
    ],
)
def test_a_line_becomes_its_event(line: str, event: Event) -> None:
    assert parse_event(line.encode()) == event


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 200_000, b'{"type":' + b'{"a":' * 200_000, b'{"type":1}'],
)
def test_a_line_that_cannot_be_read_is_unknown(line: bytes) -> None:
    event = parse_event(line)
    assert isinstance(event, Unknown)
    assert event.type.startswith("unreadable")


@given(st.binary())
def test_no_bytes_raise(line: bytes) -> None:
    parse_event(line)


@given(st.recursive(st.none() | st.text() | st.integers(), lambda inner: st.dictionaries(st.text(), inner)))
def test_no_json_raises(value: object) -> None:
    for kind in ("thread.started", "turn.completed", "turn.failed", "error", "item.completed"):
        parse_event(json.dumps({"type": kind, "item": value, "usage": value, "error": value}).encode())


def test_a_message_of_several_megabytes_is_one_event() -> None:
    text = "x" * (5 << 20)
    line = json.dumps({"type": "item.completed", "item": {"type": "agent_message", "text": text}})
    assert parse_event(line.encode()) == ItemCompleted(AgentMessage(text))


def test_usage_is_what_came_after_and_never_negative() -> None:
    assert Usage(420, 100, 50, 5).since(Usage(210, 80, 40, 10)) == Usage(210, 20, 10, 0)


@given(st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b""))), st.integers(1, 7))
def test_lines_do_not_depend_on_how_they_were_cut_into_chunks(lines: list[bytes], size: int) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    splitter = LineSplitter()
    chunks = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert [line for chunk in chunks for line in splitter.feed(chunk)] == lines
    assert list(splitter.close()) == []


def test_a_line_over_the_limit_is_dropped_and_the_next_one_is_whole() -> None:
    splitter = LineSplitter(limit=5)
    assert list(splitter.feed(b"abc")) == []
    assert list(splitter.feed(b"def\nabcde\nrest")) == [6, b"abcde"]
    assert list(splitter.close()) == [b"rest"]


def test_the_total_of_a_thread_is_read_from_its_record() -> None:
    line = (
        b'{"timestamp":"2026-11-22T16:32:50.308Z","ordinal":13,"type":"event_msg","payload":{"type":"token_count","info":'
        b'{"total_token_usage":{"input_tokens":6436,"cached_input_tokens":0,"cache_write_input_tokens":0,'
        b'"output_tokens":37,"reasoning_output_tokens":3,"total_tokens":6473},"model_context_window":258400}}}'
    )
    assert parse_token_count(line) == Usage(6436, 0, 37, 3)


@pytest.mark.parametrize(
    "line", [b"", b"{}", b'{"type":"event_msg","payload":{"type":"token_count","info":null}}', b'"token_count"']
)
def test_other_lines_of_a_record_tell_no_total(line: bytes) -> None:
    assert parse_token_count(line) is None
