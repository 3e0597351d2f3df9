"""`python -m services.local.scripted_model --script FILE --port N`: the scripted model server as a program."""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from services.local.scripted_model.script import Script, ScriptError, load_script
from services.local.scripted_model.server import ScriptedModel


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 after a signal, 2 for a bad command line, script or port."""
    parser = argparse.ArgumentParser(
        prog="python -m services.local.scripted_model",
        description="A Responses API that plays prepared turns.",
    )
    parser.add_argument("--script", type=Path, required=True, help="the play, a .toml or .json file")
    parser.add_argument("--port", type=int, default=0, help="0 (the default) takes a free one")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--check", action="store_true", help="check the script and end")
    given = parser.parse_args(argv)
    try:
        script = load_script(given.script)
        if given.check:
            turns = sum(len(conversation.turns) for conversation in script.conversations)
            sys.stdout.write(f"{given.script}: conversations: {len(script.conversations)}, turns: {turns}\n")
            return 0
        asyncio.run(_serve(script, given.host, given.port))
    except ScriptError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except (OSError, OverflowError) as error:
        sys.stderr.write(f"cannot listen on {given.host} port {given.port}: {error}\n")
        return 2
    return 0


async def _serve(script: Script, host: str, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with ScriptedModel(script, host=host, port=port, log=_log) as model:
        print(f"listening on {model.base_url}", flush=True)
        await stop.wait()


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
