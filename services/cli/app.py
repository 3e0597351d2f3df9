"""The program: every command by its name."""

import sys
from typing import Annotated, Literal

from cyclopts import App, Parameter

from services.cli import acting, doctor, projects, queue, runs, services, transcripts, why
from services.cli.options import HERE

ABOUT = """\
Runs OpenAI's Codex CLI over git repositories, step by step: start it, give it tasks, watch and steer them.

A run is named by its number or name (3, 0003-dark-theme), its step as 3.2, an attempt as a7, a job as j5.

DEKSDENFLOW_API_BASE says where the server is; DEKSDENFLOW_API_TOKEN, DEKSDENFLOW_API_TOKEN_FILE or
DEKSDENFLOW_PROJECT_TOKEN prove who asks. services/cli/COMMANDS.md has it all on one page, with the exit codes.
"""


def completion(shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(help="Whose language it is in.")], /) -> None:
    """Print what makes the shell complete commands and options: `source <(deksdenflow completion bash)`."""
    sys.stdout.write(build().generate_completion(prog_name="deksdenflow", shell=shell))


def build() -> App:
    """A fresh program; it neither prints errors nor ends the process by itself."""
    app = App(
        name="deksdenflow",
        help=ABOUT,
        help_format="markdown",
        version_flags=[],
        print_error=False,
        exit_on_error=False,
    )
    app["--help"].show = False
    app.command(projects.app)
    for room in (runs, transcripts, acting, why, queue, services, doctor):
        room.register(app)
    app.command(completion, group=HERE)
    return app
