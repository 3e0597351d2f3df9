"""The script: what a person writes, as structs, and the checks that name the place of a mistake."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import Meta, Struct

from shared.errors import StartupError

Seconds = Annotated[float, Meta(ge=0, le=3600)]


class ScriptError(StartupError):
    """The script cannot be played; the text is one line that begins with the place."""


class Command(Struct, frozen=True, forbid_unknown_fields=True):
    """A shell command; after `timeout_s` the play goes on and leaves it running."""

    run: str
    workdir: str | None = None
    timeout_s: Annotated[float, Meta(gt=0, le=3600)] = 120


class Item(Struct, frozen=True, forbid_unknown_fields=True):
    """One output item; exactly one field is set."""

    reasoning: str | None = None
    message: str | None = None
    command: str | Command | None = None
    patch: str | None = None
    answer: dict[str, Any] | None = None

    @property
    def kind(self) -> str:
        """The name of the field that is set."""
        return next(name for name in self.__struct_fields__ if getattr(self, name) is not None)


class HttpError(Struct, frozen=True, forbid_unknown_fields=True):
    """An answer that is an HTTP error; `body` replaces the usual JSON body."""

    status: Annotated[int, Meta(ge=400, le=599)]
    message: str = "scripted error"
    code: str | None = None
    type: str = "scripted_error"
    headers: dict[str, str] = {}
    body: str | None = None


class Failed(Struct, frozen=True, forbid_unknown_fields=True):
    """A stream that ends in `response.failed`, for example with code `context_length_exceeded`."""

    code: str
    message: str = "scripted failure"


class Cut(Struct, frozen=True, forbid_unknown_fields=True):
    """A stream that ends after `after` events: the connection is closed or reset, or the body ends as if complete."""

    after: Annotated[int, Meta(ge=0)] = 1
    how: Literal["close", "reset", "end"] = "close"


class Usage(Struct, frozen=True, forbid_unknown_fields=True):
    """Tokens to report instead of the counts taken from sizes."""

    input_tokens: Annotated[int, Meta(ge=0)] = 0
    cached_input_tokens: Annotated[int, Meta(ge=0)] = 0
    output_tokens: Annotated[int, Meta(ge=0)] = 0
    reasoning_output_tokens: Annotated[int, Meta(ge=0)] = 0


Garbage = Literal["not_http", "html", "empty", "bad_event", "bad_item"]
FAULTS = ("error", "failed", "incomplete", "cut", "hang", "garbage")
# These never get as far as an output item.
ITEMLESS = ("error", "hang", "garbage")


class Turn(Struct, frozen=True, forbid_unknown_fields=True):
    """What one request is answered with: output items, or a fault, or (`failed`, `incomplete`, `cut`) both.

    The item fields are a short form of `items`, emitted in the order in which they stand here.
    """

    reasoning: str | None = None
    message: str | None = None
    command: str | Command | None = None
    patch: str | None = None
    answer: dict[str, Any] | None = None
    items: tuple[Item, ...] = ()
    error: HttpError | None = None
    failed: Failed | None = None
    incomplete: str | None = None
    cut: Annotated[int, Meta(ge=0)] | Cut | None = None
    hang: Literal["before_headers", "after_headers"] | None = None
    garbage: Garbage | None = None
    times: Annotated[int, Meta(ge=1)] | Literal["always"] = 1
    delay_s: Seconds | None = None
    usage: Usage | None = None

    @property
    def output(self) -> tuple[Item, ...]:
        """The items in the order of emission."""
        if self.items:
            return self.items
        short = {name: getattr(self, name) for name in Item.__struct_fields__}
        return tuple(Item(**{name: value}) for name, value in short.items() if value is not None)

    @property
    def told(self) -> str:
        """What the turn consists of, for a line of the log."""
        return ", ".join([item.kind for item in self.output] + ([self.fault] if self.fault else []))

    @property
    def fault(self) -> str | None:
        """The name of the fault that this turn plays."""
        return next((name for name in FAULTS if getattr(self, name) is not None), None)


class Match(Struct, frozen=True, forbid_unknown_fields=True):
    """How a request is recognised; every condition given must hold, none given matches everything.

    `prompt`: regular expressions searched in the thread's first user message. `model`: one that the whole slug matches.
    `answer_has`: properties of the answer's schema. `nth`: which threads, counted from 1 among those that fit the rest.
    """

    prompt: str | tuple[str, ...] = ()
    model: str | None = None
    answer_has: tuple[str, ...] = ()
    nth: Annotated[int, Meta(ge=1)] | tuple[int, ...] = ()

    @property
    def patterns(self) -> tuple[str, ...]:
        """`prompt` as a tuple."""
        return (self.prompt,) if isinstance(self.prompt, str) else self.prompt

    @property
    def ordinals(self) -> tuple[int, ...]:
        """`nth` as a tuple; empty for any."""
        return (self.nth,) if isinstance(self.nth, int) else self.nth


class Conversation(Struct, frozen=True, forbid_unknown_fields=True):
    """The turns of one kind of thread; `repeat` starts again from the first when they are used up."""

    turns: Annotated[tuple[Turn, ...], Meta(min_length=1)]
    name: str = ""
    match: Match = Match()
    repeat: bool = False


class Script(Struct, frozen=True, forbid_unknown_fields=True):
    """A whole play; `delay_s` is the time that a turn takes unless it says otherwise."""

    conversations: Annotated[tuple[Conversation, ...], Meta(min_length=1)]
    name: str = "the script"
    delay_s: Seconds = 0

    def title(self, index: int) -> str:
        """What a conversation is called in messages."""
        return self.conversations[index].name or f"conversations[{index}]"


def load_script(path: Path) -> Script:
    """Read a script from a `.toml` or `.json` file; ScriptError says what is wrong and where."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScriptError(f"{path}: cannot be read: {error}") from error
    try:
        data = msgspec.json.decode(text) if path.suffix == ".json" else tomllib.loads(text)
    except (msgspec.DecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ScriptError(f"{path}: not {'JSON' if path.suffix == '.json' else 'TOML'}: {error}") from error
    if not isinstance(data, dict):
        raise ScriptError(f"{path}: a script is a table with `conversations`")
    try:
        return parse_script(cast("dict[str, Any]", data), name=path.name)
    except ScriptError as error:
        raise ScriptError(f"{path}: {error}") from error


def parse_script(data: Mapping[str, Any], *, name: str = "the script") -> Script:
    """A script from plain data, checked as `load_script` checks it."""
    try:
        script = msgspec.convert({"name": name, **data}, Script)
    except msgspec.ValidationError as error:
        raise ScriptError(_placed(str(error))) from error
    for index, conversation in enumerate(script.conversations):
        place = f"conversations[{index}]"
        _check_match(conversation.match, f"{place}.match")
        for number, turn in enumerate(conversation.turns):
            _check_turn(turn, f"{place}.turns[{number}]")
    return script


def _placed(message: str) -> str:
    """From msgspec's `… - at `$.conversations[0]`` to the place first, as in the rest of our messages."""
    text, _, place = message.partition(" - at `$")
    place = place.rstrip("`").lstrip(".")
    text = re.sub(r"^Object contains unknown field", "unknown key", text)
    text = re.sub(r"^Object missing required field", "missing key", text)
    return f"{place}: {text}" if place else text


def _check_match(match: Match, place: str) -> None:
    patterns = {f"{place}.prompt": match.patterns, f"{place}.model": (match.model,) if match.model else ()}
    for field, texts in patterns.items():
        for text in texts:
            try:
                re.compile(text)
            except re.error as error:
                raise ScriptError(f"{field}: not a regular expression: {error}: {text!r}") from error
    if any(ordinal < 1 for ordinal in match.ordinals):
        raise ScriptError(f"{place}.nth: threads are counted from 1")


def _check_turn(turn: Turn, place: str) -> None:
    short = [name for name in Item.__struct_fields__ if getattr(turn, name) is not None]
    faults = [name for name in FAULTS if getattr(turn, name) is not None]
    if turn.items and short:
        raise ScriptError(f"{place}: give either `items` or `{short[0]}`, not both")
    if len(faults) > 1:
        raise ScriptError(f"{place}: one fault per turn, not {' and '.join(faults)}")
    if not turn.items and not short and not faults:
        raise ScriptError(f"{place}: says nothing; give one of {', '.join((*Item.__struct_fields__, *FAULTS))}")
    if faults and faults[0] in ITEMLESS and (turn.items or short):
        raise ScriptError(f"{place}: `{faults[0]}` sends no items; put them into a turn of their own")
    if turn.times != 1 and not faults:
        raise ScriptError(f"{place}.times: only a fault is played several times")
    if turn.error is not None:
        _check_headers(turn.error.headers, f"{place}.error.headers")
    for number, item in enumerate(turn.items):
        if sum(getattr(item, name) is not None for name in Item.__struct_fields__) != 1:
            raise ScriptError(f"{place}.items[{number}]: exactly one of {', '.join(Item.__struct_fields__)}")
    for number, item in enumerate(turn.output):
        _check_item(item, f"{place}.items[{number}]" if turn.items else place)


def _check_headers(headers: Mapping[str, str], place: str) -> None:
    for name, value in headers.items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or not re.fullmatch(r"[\t -~]*", value):
            raise ScriptError(f"{place}: not an HTTP header: {name!r}: {value!r}")
        if name.lower() in {"content-length", "transfer-encoding"}:
            raise ScriptError(f"{place}: {name} is set by the server itself")


def _check_item(item: Item, place: str) -> None:
    if item.patch is not None:
        lines = item.patch.strip().splitlines()
        if not lines or lines[0] != "*** Begin Patch" or lines[-1] != "*** End Patch":
            raise ScriptError(f"{place}.patch: begins with the line `*** Begin Patch` and ends with `*** End Patch`")
    command = item.command.run if isinstance(item.command, Command) else item.command
    if command is not None and not command.strip():
        raise ScriptError(f"{place}.command: is empty")
