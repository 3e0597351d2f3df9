"""`python -m services.local [up|demo]`: the whole of DeksdenFlow in one process, and the demo."""

import signal

# The imports below take a moment: Ctrl-C during them ends without a traceback, as it does later.
signal.signal(signal.SIGINT, signal.SIG_DFL)

# ruff: noqa: E402 - for the reason above
import argparse
import functools
import os
import sys
from pathlib import Path

import msgspec

from services.local.demo.command import demo
from services.local.demo.stage import Wanted
from services.local.service import local_environment, up
from shared.runtime import run_service
from shared.settings import Model


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 for a clean end, 2 for a bad command line or start, 1 when the demo fails, 130 after Ctrl-C in it."""
    parser = argparse.ArgumentParser(
        prog="python -m services.local", description="The whole of DeksdenFlow in one process, on SQLite alone."
    )
    commands = parser.add_subparsers(dest="command", metavar="up|demo")
    commands.add_parser("up", help="run API, webhooks and worker until Ctrl-C (the default)")
    show = commands.add_parser("demo", help="run the main job on a sample repository, and check what came of it")
    show.add_argument(
        "--keep", action="store_true", help="leave everything running afterwards, and its folder in place"
    )
    show.add_argument(
        "--real", action="store_true", help="ask a real model, with your own Codex login or CODEX_API_KEY"
    )
    show.add_argument("--model", metavar="NAME", type=_model, help="the model to ask, for planning, execution and QA")
    show.add_argument("--no-color", action="store_true", help="plain lines instead of a live picture")
    show.add_argument("--record", type=_picture, metavar="FILE.svg", help="save a picture of the end")
    given = parser.parse_args(argv)
    if given.command == "demo":
        wanted = Wanted(
            keep=given.keep, real=given.real, model=given.model, color=not given.no_color, record=given.record
        )
        return demo(wanted, os.environ)
    environment = local_environment(os.environ)
    return run_service(functools.partial(up, environment=environment), environment=environment, allow_fake=True)


def _model(text: str) -> str:
    try:
        return msgspec.convert(text, Model)
    except msgspec.ValidationError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a model") from error


def _picture(text: str) -> Path:
    file = Path(text)
    if file.suffix != ".svg" or not file.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a .svg file in a folder that exists")
    return file


if __name__ == "__main__":
    sys.exit(main())
