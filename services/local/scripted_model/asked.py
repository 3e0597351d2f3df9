"""What a request of the Responses API asks for, read leniently: the play needs little of it."""

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from hashlib import sha256
from itertools import takewhile

import msgspec
from msgspec import Struct

# Codex puts these before the prompt, as messages of the user.
_CONTEXT = ("# AGENTS.md instructions", "<environment_context>", "<user_instructions>", "<turn_aborted>", "<skill")
_MARK = re.compile(r"_s(?P<conversation>\d{1,6})p(?P<position>\d{1,6})i(?P<item>\d{1,6})w(?P<wait>\d{1,6})$")
_REJECTED = re.compile(r"(apply_patch verification failed|patch rejected).*")
_RUNNING = re.compile(r"Process running with session ID (\d{1,12})")


class Tools(StrEnum):
    """How the model of this request runs commands and patches files."""

    SHELL = "exec_command alone; a patch is a here-document"
    FREEFORM = "exec_command and the custom tool apply_patch"
    CODE = "the custom tool exec, which takes JavaScript"
    NONE = "no tool that runs commands"


class Mark(Struct, frozen=True):
    """Where in the play an output item came from; it is the end of the item's id, which Codex sends back.

    So the place in the play is read from the request itself and survives a restart of the server, a resume and a fork.
    """

    conversation: int
    position: int
    item: int = 0
    wait: int = 0

    def __str__(self) -> str:
        return f"_s{self.conversation}p{self.position}i{self.item}w{self.wait}"


class Running(Struct, frozen=True):
    """A command that had not ended when its output was sent back; `session` is what write_stdin polls."""

    mark: Mark
    session: int


class Asked(Struct, frozen=True):
    """A request: `prompt` is the thread's first user message, `latest` its last, `answer_has` the schema's keys.

    `running` and `rejected` (why a patch was not applied) are what came of the calls of the latest response.
    """

    thread: str
    model: str
    prompt: str
    latest: str
    tools: Tools
    tool_names: tuple[str, ...]
    answer_has: tuple[str, ...]
    streams: bool
    size: int
    mark: Mark | None
    running: tuple[Running, ...]
    rejected: str = ""


class _Part(Struct, frozen=True):
    text: str | None = None


class _Tool(Struct, frozen=True):
    type: str = ""
    name: str = ""
    tools: tuple["_Tool", ...] = ()


class _Item(Struct, frozen=True):
    type: str = ""
    role: str = ""
    id: str | None = None
    call_id: str | None = None
    content: str | tuple[_Part, ...] | None = None
    output: str | tuple[_Part, ...] | None = None
    tools: tuple[_Tool, ...] = ()


class _Schema(Struct, frozen=True):
    properties: dict[str, msgspec.Raw] = {}


class _Format(Struct, frozen=True):
    schema: _Schema = _Schema()


class _Text(Struct, frozen=True):
    format: _Format | None = None


class _Body(Struct, frozen=True):
    model: str
    input: tuple[_Item, ...] | str
    stream: bool = False
    tools: tuple[_Tool, ...] = ()
    text: _Text | None = None
    prompt_cache_key: str | None = None


_decoder = msgspec.json.Decoder(_Body)


def read_request(headers: Mapping[str, str], body: bytes) -> Asked:
    """Raises msgspec.DecodeError when the body is not a request of the Responses API."""
    asked = _decoder.decode(body)
    items = (_Item(role="user", content=asked.input),) if isinstance(asked.input, str) else asked.input
    tools = list(_flat(asked.tools + tuple(tool for item in items for tool in item.tools)))
    latest = list(_latest_outputs(items))
    said = [text for item in items if item.role == "user" and not (text := _text(item.content)).startswith(_CONTEXT)]
    prompt = said[0] if said else ""
    return Asked(
        thread=headers.get("thread-id") or asked.prompt_cache_key or sha256(prompt.encode()).hexdigest()[:16],
        model=asked.model,
        prompt=prompt,
        latest=said[-1] if said else "",
        tools=_tools(tools),
        tool_names=tuple(tool.name for tool in tools if tool.name),
        answer_has=tuple(asked.text.format.schema.properties) if asked.text and asked.text.format else (),
        streams=asked.stream,
        size=len(body),
        mark=_last_mark(items),
        running=tuple(_still_running(latest)),
        rejected=next((found[0] for item in latest if (found := _REJECTED.search(_text(item.output)))), ""),
    )


def _text(content: str | tuple[_Part, ...] | None) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(part.text or "" for part in content)


def _flat(tools: Iterable[_Tool]) -> Iterable[_Tool]:
    for tool in tools:
        if tool.type == "namespace":
            yield from _flat(tool.tools)
        else:
            yield tool


def _tools(tools: Iterable[_Tool]) -> Tools:
    offered = {(tool.type, tool.name) for tool in tools}
    if ("custom", "exec") in offered:
        return Tools.CODE
    if ("function", "exec_command") not in offered:
        return Tools.NONE
    return Tools.FREEFORM if ("custom", "apply_patch") in offered else Tools.SHELL


def _mark(item: _Item) -> Mark | None:
    found = _MARK.search(item.call_id or item.id or "")
    return Mark(**{name: int(digits) for name, digits in found.groupdict().items()}) if found else None


def _last_mark(items: tuple[_Item, ...]) -> Mark | None:
    marks = [mark for item in items if (mark := _mark(item))]
    return max(marks, key=lambda mark: mark.position) if marks else None


def _latest_outputs(items: tuple[_Item, ...]) -> Iterable[_Item]:
    """The outputs at the very end answer the calls of the latest response."""
    return reversed(list(takewhile(lambda item: item.type.endswith("_output"), reversed(items))))


def _still_running(outputs: Iterable[_Item]) -> Iterable[Running]:
    for item in outputs:
        found = _RUNNING.search(_text(item.output))
        mark = _mark(item)
        if found and mark:
            yield Running(mark, int(found[1]))
