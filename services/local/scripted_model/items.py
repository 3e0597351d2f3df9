"""Turns a script's items into output items of the tool protocol that the request offers."""

import re
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from services.local.scripted_model.asked import Mark, Running, Tools
from services.local.scripted_model.script import Command, Item

OutputItem = dict[str, Any]

# The longest that one exec_command and one write_stdin call wait, in seconds.
_FIRST_WAIT_S = 30.0
_POLL_S = 300.0

# Awaits a command in JavaScript and shows the model what it printed.
_CELL = """\
// @exec: {"yield_time_ms": %(timeout_ms)d}
const until = Date.now() + %(timeout_ms)d;
let r = await tools.exec_command(%(arguments)s);
let out = r.output;
while (r.session_id !== undefined && Date.now() < until) {
  r = await tools.write_stdin({session_id: r.session_id, chars: "", yield_time_ms: 5000});
  out += r.output;
}
text(out);
text(r.session_id === undefined ? "exit code " + r.exit_code : "still running");
"""


def output_items(items: tuple[Item, ...], tools: Tools, at: Mark, captures: Mapping[str, str]) -> list[OutputItem]:
    """The output items of one turn, each marked with its place in the play."""
    marks = [msgspec.structs.replace(at, item=number) for number in range(len(items))]
    return [_output_item(item, tools, mark, captures) for item, mark in zip(items, marks, strict=True)]


def poll_items(running: tuple[Running, ...], items: tuple[Item, ...]) -> list[OutputItem]:
    """Calls that wait on for those of the turn's commands that still run and have time left."""
    calls: list[OutputItem] = []
    for wait in running:
        if wait.mark.item >= len(items) or (command := _command(items[wait.mark.item])) is None:
            continue
        left = command.timeout_s - _FIRST_WAIT_S - wait.mark.wait * _POLL_S
        if left > 0:
            mark = msgspec.structs.replace(wait.mark, wait=wait.mark.wait + 1)
            milliseconds = max(5000, int(min(left, _POLL_S) * 1000))
            arguments = {"session_id": wait.session, "chars": "", "yield_time_ms": milliseconds}
            calls.append(_function_call("write_stdin", arguments, mark))
    return calls


def filled(text: str, captures: Mapping[str, str]) -> str:
    """`{{name}}` replaced by what the named group of the match captured; other braces stay as they are."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: captures.get(found[1], found[0]), text)


def _filled_within(value: Any, captures: Mapping[str, str]) -> Any:
    match value:
        case str():
            return filled(value, captures)
        case list():
            return [_filled_within(part, captures) for part in cast("list[Any]", value)]
        case dict():
            return {key: _filled_within(part, captures) for key, part in cast("dict[str, Any]", value).items()}
        case _:
            return value


def _output_item(item: Item, tools: Tools, mark: Mark, captures: Mapping[str, str]) -> OutputItem:
    if item.reasoning is not None:
        summary = [{"type": "summary_text", "text": filled(item.reasoning, captures)}]
        return {"type": "reasoning", "id": f"rs{mark}", "summary": summary, "encrypted_content": "scripted"}
    if item.patch is not None:
        return _patch_call(filled(item.patch, captures).strip() + "\n", tools, mark)
    if (command := _command(item)) is not None:
        run = filled(command.run, captures)
        workdir = None if command.workdir is None else filled(command.workdir, captures)
        return _command_call(msgspec.structs.replace(command, run=run, workdir=workdir), tools, mark)
    if item.message is not None:
        text = filled(item.message, captures)
    else:
        text = msgspec.json.encode(_filled_within(item.answer, captures)).decode()
    content = [{"type": "output_text", "text": text}]
    return {"type": "message", "id": f"msg{mark}", "role": "assistant", "content": content}


def _command(item: Item) -> Command | None:
    return Command(item.command) if isinstance(item.command, str) else item.command


def _command_call(command: Command, tools: Tools, mark: Mark) -> OutputItem:
    arguments = {"cmd": command.run, "yield_time_ms": int(min(command.timeout_s, _FIRST_WAIT_S) * 1000)}
    if command.workdir is not None:
        arguments["workdir"] = command.workdir
    if tools is Tools.CODE:
        cell = {"arguments": _javascript(arguments), "timeout_ms": int(command.timeout_s * 1000)}
        return _custom_call("exec", _CELL % cell, mark)
    return _function_call("exec_command", arguments, mark)


def _patch_call(patch: str, tools: Tools, mark: Mark) -> OutputItem:
    if tools is Tools.CODE:
        return _custom_call("exec", f"text(await tools.apply_patch({_javascript(patch)}));\n", mark)
    if tools is Tools.FREEFORM:
        return _custom_call("apply_patch", patch, mark)
    end = "EOF"
    while end in patch.splitlines():
        end += "_"
    return _function_call("exec_command", {"cmd": f"apply_patch <<'{end}'\n{patch}{end}\n"}, mark)


def _javascript(value: object) -> str:
    """JSON is a subset of JavaScript."""
    return msgspec.json.encode(value).decode()


def _function_call(name: str, arguments: Mapping[str, object], mark: Mark) -> OutputItem:
    text = msgspec.json.encode(arguments).decode()
    return {"type": "function_call", "id": f"fc{mark}", "call_id": f"call{mark}", "name": name, "arguments": text}


def _custom_call(name: str, text: str, mark: Mark) -> OutputItem:
    return {"type": "custom_tool_call", "id": f"ctc{mark}", "call_id": f"call{mark}", "name": name, "input": text}
