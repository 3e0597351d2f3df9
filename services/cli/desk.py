"""The desk of one command: the server, where the output goes, and how to find what the words on the line mean."""

import asyncio
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
from rich.console import Console, RenderableType

from services.cli.ending import CommandError, Exit
from services.cli.options import Caller, Options
from services.cli.rest import Rest, as_json, find_connection
from services.cli.text import line
from shared.schemas.answers import AttemptAnswer, ProjectAnswer, ProtocolAnswer, StepAnswer
from shared.schemas.names import url_host, url_path

T = TypeVar("T")

PLAIN_WIDTH = 160
GIT_S = 10.0

Kind = Literal["protocol", "step", "attempt", "job"]
_STEP = re.compile(r"(?P<protocol>[0-9]{1,18}|[0-9]{4}-[a-z0-9-]{1,60})(?:\.(?P<step>[0-9]{1,3}))?")
_NUMBERED = re.compile(r"(?P<kind>[aj])(?P<id>[0-9]{1,18})")


class Reference(msgspec.Struct, frozen=True):
    """What a word on the line points to: `3` or `0003-slug`, `3.2`, `a7` (an attempt), `j5` (a job)."""

    kind: Kind
    protocol: str = ""
    number: int = 0


def read_reference(word: str, *accepted: Kind) -> Reference:
    """CommandError(USAGE) for a word that points to nothing of the accepted kinds."""
    found: Reference | None = None
    if numbered := _NUMBERED.fullmatch(word):
        found = Reference("attempt" if numbered["kind"] == "a" else "job", number=int(numbered["id"]))
    elif step := _STEP.fullmatch(word):
        kind: Kind = "protocol" if step["step"] is None else "step"
        found = Reference(kind, step["protocol"], int(step["step"] or 0))
    if found is None or found.kind not in accepted:
        raise CommandError(Exit.USAGE, f"{word!r} is not {_forms(accepted)}")
    return found


def _forms(accepted: Sequence[Kind]) -> str:
    forms = {
        "protocol": "a protocol run (3, or its name)",
        "step": "a step (3.2: step 2 of protocol run 3)",
        "attempt": "an attempt (a7)",
        "job": "a job (j5)",
    }
    return " or ".join(forms[kind] for kind in accepted)


class Desk:
    """What a command works with; made by `open_desk`."""

    def __init__(self, caller: Caller, rest: Rest, *, json: bool) -> None:
        self.caller = caller
        self.rest = rest
        self.json = json
        self.out = new_console(caller)

    def show(self, answer: object, *pictures: RenderableType) -> None:
        """Print the answer for a program, or the pictures of it for a person."""
        if self.json:
            sys.stdout.write(f"{as_json(answer)}\n")
            return
        self.say(*pictures)

    def say(self, *pictures: RenderableType, whole: bool = False) -> None:
        """Print for a person; with `whole` a long line is the terminal's to break."""
        with self.out.capture() as captured:
            for picture in pictures:
                self.out.print(picture, soft_wrap=whole)
        # Tables fill their lines with blanks.
        sys.stdout.write(re.sub(r" +$", "", captured.get(), flags=re.MULTILINE))
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """Tell a person something beside the output."""
        if not self.json:
            sys.stderr.write(f"{text}\n")

    def page(self, picture: RenderableType) -> None:
        """Print something long: through a pager on a terminal."""
        command = shlex.split(self.caller.environment.get("PAGER") or "less -RFX")
        if not self.out.is_terminal or not command or shutil.which(command[0]) is None:
            self.say(picture, whole=True)
            return
        with self.out.capture() as captured:
            self.out.print(picture, soft_wrap=True)
        subprocess.run(command, input=captured.get().encode(), check=False)

    async def project(self, name: str | None) -> ProjectAnswer:
        """The project of this number or name, else the one whose repository is the folder's origin."""
        if name is not None and name.isdecimal():
            return await self.rest.get(f"/projects/{int(name)}", ProjectAnswer)
        projects = await self.rest.some("/projects", ProjectAnswer)
        if name is not None:
            return _only([each for each in projects if each.name == name], f"there is no project {name!r}", projects)
        if not projects:
            raise CommandError(Exit.USAGE, "there is no project yet; register one with `deksdenflow project add`")
        if found := _at(await asyncio.to_thread(origin_of, self.caller), projects):
            return found
        return _only(projects, "no project has the repository of this folder; name one with --project", projects)

    async def protocol(self, name: str | None, project: str | None = None) -> ProtocolAnswer:
        """The protocol run of this number or name, else the newest open one, or the newest, of the project here."""
        if name is not None and name.isdecimal():
            return await self.rest.get(f"/protocols/{int(name)}", ProtocolAnswer)
        place = await self._meant(project)
        if name is not None:
            known = await self.rest.some("/protocols", ProtocolAnswer, place)
            same = [each for each in known if each.protocol_name == name]
            complaint = (
                f"{len(same)} protocol runs are called {name!r}; use the number"
                if same
                else f"there is no protocol run {name!r}"
            )
            return _only(same, complaint)
        for status in ("open", None):
            if found := await self.rest.some("/protocols", ProtocolAnswer, place | {"status": status}, limit=1):
                return found[0]
        raise CommandError(Exit.USAGE, "there is no protocol run yet; open one with `deksdenflow run`")

    async def protocols(self, project: str | None, *, over: bool) -> list[ProtocolAnswer]:
        """The open protocol runs, or all, of the project that is meant, else of all that the caller may see.

        The oldest comes first.
        """
        wanted = await self._meant(project) | {"status": None if over else "open"}
        return (await self.rest.some("/protocols", ProtocolAnswer, wanted))[::-1]

    async def _meant(self, project: str | None) -> dict[str, int | str | None]:
        """What narrows a list to the project that is named, else to that of the folder; nothing where there is none."""
        if project is not None:
            return {"project_id": (await self.project(project)).id}
        origin = await asyncio.to_thread(origin_of, self.caller)
        here = _at(origin, await self.rest.some("/projects", ProjectAnswer)) if origin else None
        return {"project_id": here.id if here else None}

    async def steps(self, protocol_id: int) -> list[StepAnswer]:
        """All steps by index."""
        return await self.rest.some(f"/protocols/{protocol_id}/steps", StepAnswer)

    async def attempts(self, protocol_id: int) -> list[AttemptAnswer]:
        """All attempts, oldest first."""
        return await self.rest.some(f"/protocols/{protocol_id}/attempts", AttemptAnswer)

    async def step(self, reference: Reference) -> tuple[ProtocolAnswer, StepAnswer]:
        """The step that `3.2` means."""
        protocol = await self.protocol(reference.protocol)
        found = [each for each in await self.steps(protocol.id) if each.step_index == reference.number]
        if not found:
            raise CommandError(Exit.USAGE, f"protocol run {protocol.id} has no step {reference.number}")
        return protocol, found[0]


def new_console(caller: Caller, *, stderr: bool = False) -> Console:
    """Plain without a terminal, by NO_COLOR, and on a dumb one."""
    plain = bool(caller.environment.get("NO_COLOR")) or caller.environment.get("TERM") == "dumb"
    console = Console(highlight=False, no_color=plain or None, stderr=stderr, emoji=False, markup=False)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    return console


def origin_of(caller: Caller) -> list[str]:
    """What could be the repository's address in the folder: its origin and its own path; empty outside of one."""
    git = shutil.which("git", path=caller.environment.get("PATH"))
    if git is None:
        return []
    asked = [["remote", "get-url", "origin"], ["rev-parse", "--show-toplevel"], ["rev-parse", "--absolute-git-dir"]]
    return [said for words in asked if (said := _git_says(git, caller.folder, words))]


def _git_says(git: str, folder: Path, words: list[str]) -> str:
    try:
        done = subprocess.run(
            [git, "-C", str(folder), *words], capture_output=True, text=True, timeout=GIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _at(origin: Sequence[str], projects: Sequence[ProjectAnswer]) -> ProjectAnswer | None:
    """The project whose repository is at one of these addresses."""
    places = {place for url in origin for place in [_place(url)] if place}
    return next((each for each in projects if _place(each.git_url) in places), None)


def _place(url: str) -> tuple[str, str] | None:
    """The same for every way in which a repository's address is written."""
    if url.startswith("/"):
        return "", os.path.realpath(url).removesuffix("/.git")
    try:
        return (url_host(url) or "").lower(), (url_path(url) or "").lower()
    except ValueError:
        return None


def _only(found: Sequence[T], complaint: str, known: Sequence[ProjectAnswer] = ()) -> T:
    """The one that was found, or a CommandError(USAGE)."""
    if len(found) == 1:
        return found[0]
    names = f" (there are: {line(', '.join(each.name for each in known))})" if known else ""
    raise CommandError(Exit.USAGE, complaint + names)


@asynccontextmanager
async def open_desk(caller: Caller, options: Options | None) -> AsyncGenerator[Desk]:
    """The desk for as long as the body runs; a refusal is printed as the server's own problem for a program."""
    given = options or Options()
    async with Rest(find_connection(caller.environment, given.api)) as rest:
        try:
            yield Desk(caller, rest, json=given.json)
        except CommandError as error:
            if given.json and error.problem is not None:
                sys.stdout.write(f"{as_json(error.problem)}\n")
            raise
