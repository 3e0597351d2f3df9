"""The demo from first line to exit code: stage, services, model, drive, checks, and a clean end at any moment."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

import msgspec

from services.local.demo.check import Findings, SuiteRun, agent_processes, find_out, run_tests
from services.local.demo.drive import Drive
from services.local.demo.rest import DemoFailed, Rest
from services.local.demo.scene import Scene
from services.local.demo.show import Show
from services.local.demo.stage import (
    Machine,
    Wanted,
    build_sample,
    check_for_real,
    demo_settings,
    look_around,
    own_folder,
)
from services.local.samples.sample import SamplePaths
from services.local.scripted_model import ScriptedModel, load_script
from services.local.service import Addresses, own_login, running
from shared import log
from shared.errors import StartupError
from shared.redaction import Redactor
from shared.runtime import open_runtime
from shared.settings import load_settings

P = ParamSpec("P")
T = TypeVar("T")

_SCRIPTED_PATIENCE_S = 60.0
_REAL_PATIENCE_S = 3600.0
_PATIENCE_SIGNALS = 3
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Place(msgspec.Struct, frozen=True):
    """Where a demo plays: its folder, the sample in it with its tests as they were, and what the machine has."""

    folder: Path
    sample: SamplePaths
    before: SuiteRun
    machine: Machine


def demo(wanted: Wanted, env: Mapping[str, str]) -> int:
    """Run it; 0 when every check held, 1 when not, 2 when it could not begin, 128 + n after signal n."""
    show = Show(env, color=wanted.color)
    try:
        return asyncio.run(_until_signalled(wanted, env, show))
    except StartupError as error:
        show.refuse(str(error))
        return 2


async def _until_signalled(wanted: Wanted, env: Mapping[str, str], show: Show) -> int:
    """Cancel the play at a signal; whatever was started ends on the way out. The third signal waits for nothing.

    Even then no agent is left: its supervisor notices that we are gone.
    """
    heard: list[int] = []
    play = asyncio.create_task(_demo(wanted, env, show))

    def hear(number: int) -> None:
        heard.append(number)
        if len(heard) == 1:
            play.cancel()
        elif len(heard) == _PATIENCE_SIGNALS:
            show.give_up()
            os._exit(128 + number)

    for number in _STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, hear, number)
    code = 0
    try:
        code = await play
    except asyncio.CancelledError:
        if not heard:
            raise
    if not heard or code != 0:
        return code
    show.say("stopped, and nothing is left running")
    return 128 + heard[0]


async def _demo(wanted: Wanted, env: Mapping[str, str], show: Show) -> int:
    scene = Scene()
    try:
        with own_folder(env, keep=wanted.keep) as folder:
            async with show.watching(scene):
                place = await _set_up(wanted, env, scene, folder)
            if place.machine.no_sandbox is not None:
                show.notice(_WITHOUT_SANDBOX.format(why=place.machine.no_sandbox))
            await _play(wanted, env, show, scene, place)
    except DemoFailed as error:
        show.failed(scene, str(error))
        return 1
    return 0


_WITHOUT_SANDBOX = (
    "This machine allows no sandbox for the agent's commands. The demo runs its own scripted sample without one, since "
    "nothing in that script is a surprise. Real projects are refused here until that is mended or you opt out in "
    "settings.\n{why}"
)


async def _set_up(wanted: Wanted, env: Mapping[str, str], scene: Scene, folder: Path) -> Place:
    scene.now_doing = "Looking for Codex and its sandbox"
    machine = await look_around(env, folder)
    whom = check_for_real(env, machine) if wanted.real else "a scripted model"
    scene.about = f"the main job, with Codex {machine.codex.version} and {whom}"
    scene.done.append(("Codex", f"{machine.codex.version}, sandbox {'works' if machine.no_sandbox is None else 'off'}"))
    scene.now_doing = "Making a sample repository"
    sample = await _in_thread(build_sample, folder)
    before = await _in_thread(run_tests, sample, sample.base_branch)
    scene.done.append(("Sample repository", f"with a bug, tests {'pass' if before.passed else 'fail'}"))
    return Place(folder, sample, before, machine)


async def _play(wanted: Wanted, env: Mapping[str, str], show: Show, scene: Scene, place: Place) -> None:
    async with _services(wanted, env, place) as addresses:
        async with show.watching(scene):
            findings = await _story(wanted, scene, place, addresses)
        show.report(scene, findings)
        if wanted.record is not None:
            show.save_picture(scene, findings, wanted.record)
        if findings.failed:
            raise DemoFailed(f"not so: {'; '.join(f'{check.claim} ({check.seen})' for check in findings.failed)}")
        if wanted.keep:
            show.kept(addresses, scene, place.folder)
            await _until_told_to_stop()
        else:
            show.next_steps()
    if left := agent_processes(place.folder / "workspaces"):
        raise DemoFailed(f"processes of the agent are left: {', '.join(map(str, left))}")


@asynccontextmanager
async def _services(wanted: Wanted, env: Mapping[str, str], place: Place) -> AsyncGenerator[Addresses]:
    """The model, unless a real one is asked, and the services; what they say goes into a file."""
    async with AsyncExitStack() as stack:
        stream = stack.enter_context((place.folder / "services.log").open("w", encoding="utf-8"))
        stack.callback(log.configure, level="WARNING")
        model_url = None
        if not wanted.real:
            model = ScriptedModel(load_script(place.sample.script), log=lambda line: print(line, file=stream))
            model_url = (await stack.enter_async_context(model)).base_url
        environment = demo_settings(env, place.folder, wanted, place.machine, model_url)
        settings = load_settings(environment, allow_fake=True)
        redactor = Redactor(settings.secrets())
        log.configure(level="INFO", as_json=True, redactor=redactor, stream=stream)
        runtime = await stack.enter_async_context(open_runtime(settings, "local", redactor=redactor))
        login = own_login(settings, env) if wanted.real else None
        local = await stack.enter_async_context(running(runtime, asyncio.Event(), login_home=login))
        yield local.addresses


async def _story(wanted: Wanted, scene: Scene, place: Place, addresses: Addresses) -> Findings:
    async with Rest(addresses.api) as rest:
        if wanted.real:
            drive = Drive(rest, scene, patience_s=_REAL_PATIENCE_S, repairs=1)
        else:
            drive = Drive(rest, scene, patience_s=_SCRIPTED_PATIENCE_S)
        await drive.run(place.sample)
    workspaces = place.folder / "workspaces"
    return await _in_thread(find_out, scene, place.sample, place.before, workspaces)


async def _in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run it in a thread and, even when cancelled, go on only when it is over: it writes into the folder."""
    thread = asyncio.create_task(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(thread)
    finally:
        await asyncio.wait([thread])


async def _until_told_to_stop() -> None:
    """Wait for the signal that ends what was kept running; whether anything is left of it is still looked at."""
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    if (task := asyncio.current_task()) is not None:
        task.uncancel()
