"""The program: its one line, its end, and what it says about a bad command line."""

import asyncio
import signal
import subprocess
import sys
from contextlib import asynccontextmanager

import httpx
import pytest

PLAY = '[[conversations]]\n[[conversations.turns]]\nmessage = "hi"\n[[conversations.turns]]\nhang = "before_headers"\n'


@asynccontextmanager
async def program(*options):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.local.scripted_model", *options, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_says_where_it_listens_and_ends_at_a_signal(tmp_path, number):
    (tmp_path / "play.toml").write_text(PLAY)
    async with program("--script", str(tmp_path / "play.toml"), "--port", "0") as process:
        line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
        assert line.startswith("listening on http://127.0.0.1:")
        url = line.removeprefix("listening on ").strip() + "/responses"
        async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
            body = {"model": "m", "input": "Hi", "stream": True}
            first = await http.post(url, json=body)
            message = {"type": "message", "role": "assistant", "id": "msg_s0p0i0w0", "content": []}
            hanging = asyncio.create_task(http.post(url, json={**body, "input": [message]}))
            lines = [(await asyncio.wait_for(process.stderr.readline(), 10)).decode() for _ in range(2)]
            process.send_signal(number)
            assert await asyncio.wait_for(process.wait(), 5) == 0
            with pytest.raises(httpx.TransportError):
                await hanging
    assert first.status_code == httpx.codes.OK
    assert "conversations[0]: turn 1 of 2: message" in lines[0]
    assert "conversations[0]: turn 2 of 2: hang" in lines[1]


async def outcome(*options):
    async with program(*options) as process:
        out, err = await asyncio.wait_for(process.communicate(), 20)
        return process.returncode, out.decode(), err.decode()


async def test_a_bad_script_ends_it_with_one_line(tmp_path):
    (tmp_path / "play.toml").write_text('[[conversations]]\n[[conversations.turns]]\npatch = "x"\n')
    code, out, err = await outcome("--script", str(tmp_path / "play.toml"))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "conversations[0].turns[0].patch: begins with" in err


async def test_a_script_can_be_checked_without_playing_it(tmp_path):
    (tmp_path / "play.toml").write_text(PLAY)
    code, out, _ = await outcome("--script", str(tmp_path / "play.toml"), "--check")
    assert (code, out) == (0, f"{tmp_path / 'play.toml'}: conversations: 1, turns: 2\n")


@pytest.mark.parametrize("port", ["70000", "-1", "many"])
async def test_a_port_that_is_none_ends_it(tmp_path, port):
    (tmp_path / "play.toml").write_text(PLAY)
    code, _, err = await outcome("--script", str(tmp_path / "play.toml"), "--port", port)
    assert code == 2
    assert port in err.splitlines()[-1]
    assert "Traceback" not in err


async def test_a_port_that_is_taken_ends_it_with_one_line(tmp_path):
    (tmp_path / "play.toml").write_text(PLAY)
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as server:
        port = str(server.sockets[0].getsockname()[1])
        code, _, err = await outcome("--script", str(tmp_path / "play.toml"), "--port", port)
    assert (code, err.count("\n")) == (2, 1)
    assert f"cannot listen on 127.0.0.1 port {port}" in err


async def test_a_command_line_without_a_script_ends_it():
    code, _, err = await outcome("--port", "0")
    assert code == 2
    assert "--script" in err
