"""Decides which turn of the script answers a request, and says plainly when none does."""

import re
from collections import Counter
from textwrap import shorten

from msgspec import Struct

from services.local.scripted_model.asked import Asked, Mark, Tools
from services.local.scripted_model.items import OutputItem, output_items, poll_items
from services.local.scripted_model.script import Conversation, Match, Script, Turn, Usage
from shared.errors import DeksdenFlowError


class Play(Struct, frozen=True):
    """The turn that answers a request: its place, its output items in the request's tool protocol, its tokens."""

    place: Mark
    turn: Turn
    items: tuple[OutputItem, ...]
    usage: Usage
    delay_s: float
    told: str


class Unscripted(DeksdenFlowError):
    """The script has no answer to this request; the text says what was asked and what the script has."""


class Player:
    """Plays one script to any number of threads.

    The place in a conversation is read from the request (see Mark). Only what a request cannot tell is counted here:
    how often a fault was played to a thread, which threads a `nth` has seen, and how much of an input is cached.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self._faults: Counter[tuple[str, int, int]] = Counter()
        self._seen: list[list[str]] = [[] for _ in script.conversations]
        self._known_tokens: dict[str, int] = {}

    def next(self, asked: Asked) -> Play:
        """The next turn for this request; Unscripted when there is none."""
        index, captures = self._conversation(asked)
        conversation = self._script.conversations[index]
        before = asked.mark if asked.mark and asked.mark.conversation == index else None
        if before:
            last = conversation.turns[before.position % len(conversation.turns)]
            if polls := poll_items(asked.running, last.output):
                told = f"{self._script.title(index)}: waits for a command that still runs"
                return self._play(asked, before, Turn(), polls, told)
        place = self._place(asked, Mark(index, before.position + 1 if before else 0))
        turn = conversation.turns[place.position % len(conversation.turns)]
        self._check_tools(asked, turn)
        items = output_items(turn.output, asked.tools, place, captures)
        told = f"{self._script.title(index)}: turn {place.position + 1} of {len(conversation.turns)}: {turn.told}"
        if asked.rejected:
            told += f" (the patch before was not applied: {shorten(asked.rejected, 200)})"
        return self._play(asked, place, turn, items, told)

    def _play(self, asked: Asked, place: Mark, turn: Turn, items: list[OutputItem], told: str) -> Play:
        usage = turn.usage or self._usage(asked, items)
        delay_s = self._script.delay_s if turn.delay_s is None else turn.delay_s
        return Play(place=place, turn=turn, items=tuple(items), usage=usage, delay_s=delay_s, told=told)

    def _conversation(self, asked: Asked) -> tuple[int, dict[str, str]]:
        """A thread under way stays in its conversation; a new one takes the first that matches."""
        fitting = [_captures(conversation.match, asked) for conversation in self._script.conversations]
        for seen, captures in zip(self._seen, fitting, strict=True):
            if captures is not None and asked.thread not in seen:
                seen.append(asked.thread)
        if asked.mark and asked.mark.conversation < len(fitting):
            captures = fitting[asked.mark.conversation]
            if captures is not None:
                return asked.mark.conversation, captures
        for index, conversation in enumerate(self._script.conversations):
            captures, ordinals = fitting[index], conversation.match.ordinals
            if captures is not None and (not ordinals or self._seen[index].index(asked.thread) + 1 in ordinals):
                return index, captures
        raise Unscripted(self._no_match(asked))

    def _place(self, asked: Asked, place: Mark) -> Mark:
        """Passes over the faults that this thread has had as often as the script says."""
        conversation = self._script.conversations[place.conversation]
        while conversation.repeat or place.position < len(conversation.turns):
            turn = conversation.turns[place.position % len(conversation.turns)]
            key = (asked.thread, place.conversation, place.position)
            if turn.fault is None or turn.times == "always":
                return place
            if self._faults[key] < turn.times:
                self._faults[key] += 1
                return place
            place = Mark(place.conversation, place.position + 1)
        raise Unscripted(self._used_up(asked, place.conversation, conversation))

    def _usage(self, asked: Asked, items: list[OutputItem]) -> Usage:
        """Four bytes are a token; what this thread sent before is cached."""
        sizes = [(item["type"], len(str(item)) // 4) for item in items]
        given = asked.size // 4
        known = min(given, self._known_tokens.get(asked.thread, 0))
        self._known_tokens[asked.thread] = given
        return Usage(
            input_tokens=given,
            cached_input_tokens=known,
            output_tokens=sum(size for _, size in sizes),
            reasoning_output_tokens=sum(size for kind, size in sizes if kind == "reasoning"),
        )

    def _check_tools(self, asked: Asked, turn: Turn) -> None:
        called = [item.kind for item in turn.output if item.kind in {"command", "patch"}]
        if called and asked.tools is Tools.NONE:
            offered = ", ".join(asked.tool_names) or "none"
            raise Unscripted(f"{self._script.name} wants a {called[0]} here, but the request's tools are: {offered}")

    def _no_match(self, asked: Asked) -> str:
        answer = f"; its answer has {', '.join(asked.answer_has)}" if asked.answer_has else ""
        has = "; ".join(
            f"{self._script.title(index)} ({_described(conversation.match)})"
            for index, conversation in enumerate(self._script.conversations)
        )
        return (
            f"no conversation of {self._script.name} matches: the prompt starts with {_start(asked.prompt)}, "
            f"the model is {asked.model}{answer}; conversations: {has}"
        )

    def _used_up(self, asked: Asked, index: int, conversation: Conversation) -> str:
        return (
            f"{self._script.name} has no turn {len(conversation.turns) + 1} in {self._script.title(index)}: all "
            f"{len(conversation.turns)} were played to this thread, and it asks on with {_start(asked.latest)}"
        )


def _captures(match: Match, asked: Asked) -> dict[str, str] | None:
    """What the named groups captured, or None when the request does not fit (`nth` aside)."""
    captures = {"model": asked.model}
    if match.model is not None and not re.fullmatch(match.model, asked.model):
        return None
    if not set(match.answer_has) <= set(asked.answer_has):
        return None
    for pattern in match.patterns:
        found = re.search(pattern, asked.prompt, re.MULTILINE)
        if found is None:
            return None
        captures |= {name: text for name, text in found.groupdict().items() if text is not None}
    return captures


def _described(match: Match) -> str:
    parts = [f"prompt {pattern!r}" for pattern in match.patterns]
    if match.model is not None:
        parts.append(f"model {match.model!r}")
    if match.answer_has:
        parts.append(f"answer has {', '.join(match.answer_has)}")
    if match.ordinals:
        parts.append(f"thread {' or '.join(str(ordinal) for ordinal in match.ordinals)}")
    return ", ".join(parts) or "anything"


def _start(text: str) -> str:
    return repr(shorten(text, 200, placeholder=" …"))
