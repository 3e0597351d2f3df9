"""What every command is told: the options that all have, and the place where it was called."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Group, Parameter, validators

# The chapters of `--help`.
RUN = Group("Give work, and watch it", sort_key=0)
ACT = Group("Act on it", sort_key=1)
WHY = Group("When it does not move", sort_key=2)
PROJECTS = Group("Projects", sort_key=3)
ALL_WORK = Group("All work together", sort_key=4)
HERE = Group("On this machine", sort_key=5)
EVERYWHERE = Group("With every command", sort_key=9)


@Parameter(name="*", group=EVERYWHERE)
@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of every command that asks the server."""

    json: Annotated[
        bool, Parameter(negative="", show_default=False, help="Print the answers of the API instead of text.")
    ] = False
    api: Annotated[
        str | None,
        Parameter(help="Address of the server. Default: DEKSDENFLOW_API_BASE, else http://127.0.0.1:8000."),
    ] = None


class Caller(msgspec.Struct, frozen=True):
    """Who called the command: his environment and the folder that he is in."""

    environment: Mapping[str, str]
    folder: Path


Called = Annotated[Caller, Parameter(parse=False)]
Everywhere = Annotated[Options | None, Parameter(name="*")]

ProjectName = Annotated[
    str | None,
    Parameter(
        name=["--project", "-p"],
        help="Number or name of a project. Default: the one whose repository is this folder's origin.",
    ),
]
ProtocolName = Annotated[
    str | None,
    Parameter(help="A protocol run: 3, or its name. Default: the newest open one of the project here."),
]
Target = Annotated[
    str | None,
    Parameter(help="A protocol run (3, or its name) or its step (3.2). Default: the newest open run here."),
]
Count = Annotated[
    int,
    Parameter(name=["--limit", "-n"], validator=validators.Number(gte=1), help="How many at most, newest first."),
]
