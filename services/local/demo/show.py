"""Shows the demo: a live picture on a terminal, plain lines elsewhere, and one clear line when something is wrong."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from io import StringIO, TextIOWrapper
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from services.local.demo.check import Findings
from services.local.demo.news import News
from services.local.demo.picture import live_picture, report
from services.local.demo.scene import Scene
from services.local.service import Addresses

_FRAMES_PER_S = 12
_WIDEST = 110
_PICTURE_WIDTH = 100


class _Terminal(Console):
    """A console whose reader may leave (`| head`): the demo goes on in silence, and its exit code still tells."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Show:
    """Writes to stdout, refusals to stderr; `color=False`, NO_COLOR, or anything but a terminal make it plain."""

    def __init__(self, env: Mapping[str, str], *, color: bool) -> None:
        plain = not color or bool(env.get("NO_COLOR")) or env.get("TERM") == "dumb"
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="replace")  # a terminal that cannot show ✔ still gets the line
        self._console = _Terminal(highlight=False, no_color=plain or None, soft_wrap=False)
        self._console.width = min(self._console.width, _WIDEST) if self._console.is_terminal else _PICTURE_WIDTH
        self._live = self._console.is_terminal and not plain
        self._news = News()

    @asynccontextmanager
    async def watching(self, scene: Scene) -> AsyncGenerator[None]:
        """Keep the picture of the scene up to date while the body runs."""
        watch = asyncio.create_task(self._draw(scene) if self._live else self._tell(scene))
        try:
            yield
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
            if not self._live:
                self._news.tell(scene, self.say)

    async def _draw(self, scene: Scene) -> None:
        spinner = Spinner("dots", style="cyan")
        with Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False) as live:
            while True:
                live.update(live_picture(scene, spinner), refresh=True)
                await asyncio.sleep(1 / _FRAMES_PER_S)

    async def _tell(self, scene: Scene) -> None:
        while True:
            self._news.tell(scene, self.say)
            await asyncio.sleep(0.1)

    def say(self, text: str) -> None:
        """One line for a person."""
        self._console.print(Text(text), soft_wrap=True)

    def notice(self, text: str) -> None:
        """One thing that the person should know before the rest."""
        self._console.print(Text(text, style="yellow"), soft_wrap=not self._live)
        self._console.print()

    def refuse(self, text: str) -> None:
        """Why nothing was begun."""
        sys.stderr.write(f"demo: {text}\n")

    def report(self, scene: Scene, findings: Findings) -> None:
        """Everything that there is to say at the end."""
        self._console.print(report(scene, findings, with_timeline=self._live))

    def failed(self, scene: Scene, why: str) -> None:
        """How far it got, and why no further."""
        if self._live and scene.protocol is not None:
            self._console.print(live_picture(scene, Spinner("dots")))
        self.refuse(why)

    def give_up(self) -> None:
        """Leave the terminal as it was, at once."""
        self._console.show_cursor()

    def next_steps(self) -> None:
        """What to try now."""
        self._console.print()
        for command, meaning in (
            ("make demo ARGS=--keep", "leaves it running, to look around in it"),
            ("make demo ARGS=--real", "asks a real model, with your own login or key"),
            ("bin/deksdenflow up", "runs DeksdenFlow for repositories of your own"),
        ):
            self._console.print(Text.assemble((f"  {command:<26}", "cyan"), (meaning, "dim")))

    def kept(self, addresses: Addresses, scene: Scene, folder: Path) -> None:
        """Where everything is, and how to end it."""
        protocol = scene.protocol.id if scene.protocol else 1
        self._console.print()
        for name, text in (
            ("console", f"{addresses.api}/console"),
            ("API", f"{addresses.api}    every route: {addresses.api}/docs"),
            ("webhooks", addresses.webhooks),
            ("worker", f"{addresses.worker}/health/ready"),
            ("folder", str(folder)),
            ("try", f"bin/deksdenflow status {protocol} --api {addresses.api}"),
            ("", f"curl {addresses.api}/protocols/{protocol}"),
        ):
            self._console.print(Text.assemble((f"  {name:<10}", "dim"), text), soft_wrap=True)
        self._console.print(
            Text("\nIt runs until Ctrl-C; the folder stays, remove it when you are done.", style="bold")
        )

    def save_picture(self, scene: Scene, findings: Findings, file: Path) -> None:
        """The report as an SVG that needs no font from elsewhere."""
        console = Console(
            record=True, width=_PICTURE_WIDTH, file=StringIO(), force_terminal=True, color_system="truecolor"
        )
        console.print(report(scene, findings, with_timeline=True))
        svg = console.export_svg(title="make demo")
        svg = re.sub(r"@font-face\s*\{.*?\}|<!--.*?-->", "", svg, flags=re.DOTALL)
        file.write_text(svg.replace("Fira Code", "ui-monospace, SFMono-Regular, Menlo, Consolas"), encoding="utf-8")
