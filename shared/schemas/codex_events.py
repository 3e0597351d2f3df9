"""What Codex says on stdout, line by line, as frozen structs (pure and forgiving)."""

from collections.abc import Iterator

import msgspec

from shared.errors import UNREADABLE

MAX_LINE_BYTES = 32 << 20


class Usage(msgspec.Struct, frozen=True):
    """Tokens; Codex counts them over the whole thread, not over the turn."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_output_tokens: int = 0

    def since(self, before: "Usage") -> "Usage":
        """Return what was used after `before`; a count that went back counts as zero."""
        return Usage(
            input_tokens=max(0, self.input_tokens - before.input_tokens),
            cached_input_tokens=max(0, self.cached_input_tokens - before.cached_input_tokens),
            output_tokens=max(0, self.output_tokens - before.output_tokens),
            reasoning_output_tokens=max(0, self.reasoning_output_tokens - before.reasoning_output_tokens),
        )


class AgentMessage(msgspec.Struct, frozen=True, tag="agent_message"):
    """Something that the model said; the last one of a turn is its answer."""

    text: str = ""


class Reasoning(msgspec.Struct, frozen=True, tag="reasoning"):
    """A summary of the model's thoughts."""

    text: str = ""


class CommandExecution(msgspec.Struct, frozen=True, tag="command_execution"):
    """A command of the agent; one that the sandbox denied may never appear."""

    command: str = ""
    aggregated_output: str = ""
    exit_code: int | None = None
    status: str = ""


class Change(msgspec.Struct, frozen=True):
    """One path of a patch; `kind` is add, update or delete."""

    path: str = ""
    kind: str = ""


class FileChange(msgspec.Struct, frozen=True, tag="file_change"):
    """A patch that the agent applied."""

    changes: tuple[Change, ...] = ()
    status: str = ""


class McpToolCall(msgspec.Struct, frozen=True, tag="mcp_tool_call"):
    """A call to an MCP server; none is configured, so one here is a surprise worth seeing."""

    server: str = ""
    tool: str = ""
    status: str = ""


class WebSearch(msgspec.Struct, frozen=True, tag="web_search"):
    """A search by the model's host; its line names `id` twice."""

    query: str = ""


class Warned(msgspec.Struct, frozen=True, tag="error"):
    """An item of type error: a warning, never the end of a turn."""

    message: str = ""


class OtherItem(msgspec.Struct, frozen=True):
    """An item of a type, or in a shape, that we do not know."""

    type: str = ""


Item = AgentMessage | Reasoning | CommandExecution | FileChange | McpToolCall | WebSearch | Warned | OtherItem


class ThreadStarted(msgspec.Struct, frozen=True):
    """The first event; the id is what a later attempt resumes."""

    thread_id: str


class TurnStarted(msgspec.Struct, frozen=True):
    """The model is being asked."""


class TurnCompleted(msgspec.Struct, frozen=True):
    """The turn ended as it should; `usage` counts the whole thread."""

    usage: Usage


class TurnFailed(msgspec.Struct, frozen=True):
    """The turn ended in an error, of which only a sentence is known."""

    message: str


class ErrorNotice(msgspec.Struct, frozen=True):
    """Something went wrong and may be tried again by Codex itself; not an end."""

    message: str


class ItemStarted(msgspec.Struct, frozen=True):
    """An item has begun; one that was still running at the end of the turn never completes."""

    item: Item


class ItemCompleted(msgspec.Struct, frozen=True):
    """An item is over, or changed."""

    item: Item


class Unknown(msgspec.Struct, frozen=True):
    """A line that is no event we know: its type, or why it could not be read."""

    type: str


Event = ThreadStarted | TurnStarted | TurnCompleted | TurnFailed | ErrorNotice | ItemStarted | ItemCompleted | Unknown


class _Failure(msgspec.Struct, frozen=True):
    message: str = ""


class _Line(msgspec.Struct, frozen=True):
    type: str
    thread_id: str = ""
    message: str = ""
    usage: Usage = Usage()
    error: _Failure = _Failure()
    item: msgspec.Raw = msgspec.Raw(b"{}")


class _ItemType(msgspec.Struct, frozen=True):
    type: str = ""


_KnownItem = AgentMessage | Reasoning | CommandExecution | FileChange | McpToolCall | WebSearch | Warned


class _TokenInfo(msgspec.Struct, frozen=True):
    total_token_usage: Usage


class _TokenCount(msgspec.Struct, frozen=True, tag="token_count"):
    info: _TokenInfo


class _RecordLine(msgspec.Struct, frozen=True, tag="event_msg"):
    payload: _TokenCount


_line = msgspec.json.Decoder(_Line)
_known_item = msgspec.json.Decoder(_KnownItem)
_item_type = msgspec.json.Decoder(_ItemType)
_record_line = msgspec.json.Decoder(_RecordLine)


def parse_event(line: bytes) -> Event:
    """Read one line of JSONL; never raises, whatever the bytes are."""
    try:
        parsed = _line.decode(line)
    except UNREADABLE as error:
        return Unknown(f"unreadable: {error}"[:200])
    match parsed.type:
        case "thread.started":
            return ThreadStarted(parsed.thread_id)
        case "turn.started":
            return TurnStarted()
        case "turn.completed":
            return TurnCompleted(parsed.usage)
        case "turn.failed":
            return TurnFailed(parsed.error.message)
        case "error":
            return ErrorNotice(parsed.message)
        case "item.started":
            return ItemStarted(_parse_item(parsed.item))
        case "item.completed" | "item.updated":
            return ItemCompleted(_parse_item(parsed.item))
        case other:
            return Unknown(other[:200])


def parse_token_count(line: bytes) -> Usage | None:
    """Read the total of a thread from a `token_count` line of its record (the rollout file); None for any other."""
    try:
        return _record_line.decode(line).payload.info.total_token_usage
    except UNREADABLE:
        return None


def _parse_item(raw: msgspec.Raw) -> Item:
    try:
        return _known_item.decode(raw)
    except UNREADABLE:
        pass
    try:
        return OtherItem(_item_type.decode(raw).type[:200])
    except UNREADABLE:
        return OtherItem("unreadable")


class LineSplitter:
    """Cuts a stream of chunks into lines and drops, but tells of, a line longer than `limit` bytes."""

    def __init__(self, limit: int = MAX_LINE_BYTES) -> None:
        self._limit = limit
        self._kept: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[bytes | int]:
        """Yield every line that `chunk` ends, without its newline; an int is the size of a dropped one."""
        *ended, rest = chunk.split(b"\n")
        for piece in ended:
            self._keep(piece)
            yield self._take()
        self._keep(rest)

    def close(self) -> Iterator[bytes | int]:
        """Yield the last line, when the stream did not end with a newline."""
        if self._size:
            yield self._take()

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._limit:
            self._kept.clear()
        elif piece:
            self._kept.append(piece)

    def _take(self) -> bytes | int:
        size, line = self._size, b"".join(self._kept)
        self._kept, self._size = [], 0
        return line if size <= self._limit else size
