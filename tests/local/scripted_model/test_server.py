"""The server without Codex: which conversation plays, what it says when none does, and how it ends."""

import asyncio
import json

import httpx
import pytest

from services.local.scripted_model import ScriptedModel, parse_script

TOOLS = [{"type": "function", "name": "exec_command"}]


def asked(prompt="Hi", *, thread="t1", model="gpt-5.5", history=(), tools=TOOLS, **fields):
    """A request as Codex would make it: the history is what came after the prompt."""
    content = [{"type": "input_text", "text": prompt}]
    context = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "<environment_context>"}]}
    inputs = [context, {"type": "message", "role": "user", "content": content}, *history]
    body = {"model": model, "stream": True, "input": inputs, "tools": tools, **fields}
    return {"json": body, "headers": {"thread-id": thread}}


def events(response):
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines]


def items(response):
    return [event["item"] for event in events(response) if event["type"] == "response.output_item.done"]


def text(response):
    if response.status_code != httpx.codes.OK:
        return response.json()["error"]["message"]
    return items(response)[-1]["content"][0]["text"]


def says(name, message=None, **match):
    return {"name": name, "match": match, "turns": [{"message": message or name}]}


class Client:
    """A client of a model that plays these conversations."""

    def __init__(self, *conversations):
        self.model = ScriptedModel(parse_script({"conversations": list(conversations)}))
        self.http = httpx.AsyncClient(trust_env=False, timeout=5)

    async def __aenter__(self):
        await self.model.__aenter__()
        return self

    async def __aexit__(self, *error):
        await self.http.aclose()
        await self.model.__aexit__(*error)

    async def ask(self, *args, **fields):
        return await self.http.post(f"{self.model.base_url}/responses", **asked(*args, **fields))


async def test_the_first_conversation_that_matches_plays():
    async with Client(says("plan", prompt="^DeksdenFlow request: plan$"), says("rest")) as client:
        assert text(await client.ask("Dear model\nDeksdenFlow request: plan\nNow", thread="a")) == "plan"
        assert text(await client.ask("DeksdenFlow request: planning", thread="b")) == "rest"


async def test_every_pattern_of_a_list_must_be_found():
    async with Client(says("both", prompt=["red", "green"]), says("rest")) as client:
        assert text(await client.ask("green and red", thread="a")) == "both"
        assert text(await client.ask("green", thread="b")) == "rest"


async def test_a_conversation_may_ask_for_a_model_and_for_an_answer_s_keys():
    schema = {"text": {"format": {"type": "json_schema", "schema": {"properties": {"steps": {}, "summary": {}}}}}}
    async with Client(says("slug", model="gpt-6.*"), says("plan", answer_has=["steps"]), says("rest")) as client:
        assert text(await client.ask(model="gpt-6-sol", thread="a", **schema)) == "slug"
        assert text(await client.ask(model="not-gpt-6", thread="b", **schema)) == "plan"
        assert text(await client.ask(thread="c")) == "rest"


async def test_nth_counts_threads_and_not_requests():
    async with Client(says("first", prompt="qa", nth=1), says("later", prompt="qa", nth=[2, 3])) as client:
        assert [text(await client.ask("qa", thread=thread)) for thread in "aab"] == ["first", "first", "later"]
        assert text(await client.ask("qa", thread="c")) == "later"
        assert "no conversation of the script matches" in text(await client.ask("qa", thread="d"))


async def test_captured_groups_fill_the_turns_and_other_braces_stay():
    match = {"prompt": r"step (?P<step>\d+) on (?P<branch>\S+)"}
    turn = {"answer": {"summary": "step {{step}} on {{branch}} by {{model}}", "other": "${{ github.sha }} {{step2}}"}}
    async with Client({"match": match, "turns": [turn]}) as client:
        answer = json.loads(text(await client.ask("step 07 on 0001-fix")))
    assert answer == {"summary": "step 07 on 0001-fix by gpt-5.5", "other": "${{ github.sha }} {{step2}}"}


async def test_what_was_captured_cannot_break_the_json_of_an_answer():
    async with Client({"match": {"prompt": "(?P<all>.+)"}, "turns": [{"answer": {"summary": "{{all}}"}}]}) as client:
        assert json.loads(text(await client.ask('say "\\ no'))) == {"summary": 'say "\\ no'}


async def test_a_turn_is_found_by_the_ids_in_the_history():
    turns = [{"message": f"turn {number}"} for number in range(3)]
    async with Client({"turns": turns}) as client:
        first = await client.ask()
        second = await client.ask(history=items(first))
        third = await client.ask(history=[*items(first), *items(second)])
        again = await client.ask(history=items(first))
        assert [text(answer) for answer in (first, second, third, again)] == ["turn 0", "turn 1", "turn 2", "turn 1"]


async def test_a_conversation_that_repeats_begins_again():
    async with Client({"repeat": True, "turns": [{"message": "tick"}, {"message": "tock"}]}) as client:
        history, heard = [], []
        for _ in range(5):
            answer = await client.ask(history=history)
            history += items(answer)
            heard.append(text(answer))
        assert heard == ["tick", "tock", "tick", "tock", "tick"]
        assert len({item["id"] for item in history}) == len(history)


async def test_a_fault_is_counted_for_each_thread():
    async with Client({"turns": [{"error": {"status": 503}, "times": 2}, {"message": "up"}]}) as client:
        codes = [(await client.ask(thread=thread)).status_code for thread in "aabaab"]
        assert codes == [503, 503, 503, 200, 200, 503]


async def test_a_fault_may_come_between_turns():
    turns = [{"message": "one"}, {"error": {"status": 429, "headers": {"Retry-After": "7"}}}, {"message": "two"}]
    async with Client({"turns": turns}) as client:
        history = items(await client.ask())
        refused = await client.ask(history=history)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "7")
        assert text(await client.ask(history=history)) == "two"


async def test_a_command_that_still_runs_is_polled_until_its_time_is_over():
    running = "Chunk ID: 1\nProcess running with session ID 4711\nOutput:\n"
    turns = [{"command": {"run": "make", "timeout_s": 400}}, {"message": "end"}]
    async with Client({"turns": turns}) as client:
        history = []
        calls = []
        for _ in range(4):
            answer = items(await client.ask(history=history))
            calls.append(answer[-1])
            history += answer
            if answer[-1]["type"] == "function_call":
                output = {"type": "function_call_output", "call_id": answer[-1]["call_id"], "output": running}
                history.append(output)
        assert [call.get("name") for call in calls] == ["exec_command", "write_stdin", "write_stdin", None]
        waits = [json.loads(call["arguments"])["yield_time_ms"] for call in calls[:3]]
        assert waits == [30_000, 300_000, 70_000]
        assert json.loads(calls[1]["arguments"])["session_id"] == 4711


async def test_a_command_that_ended_is_not_polled():
    turns = [{"command": "make"}, {"message": "end"}]
    async with Client({"turns": turns}) as client:
        call = items(await client.ask())[0]
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "Process exited with code 0"}
        assert text(await client.ask(history=[call, output])) == "end"


async def test_a_request_without_tools_for_the_turn_hears_which_it_has():
    async with Client({"name": "do", "turns": [{"command": "ls"}]}) as client:
        assert text(await client.ask(tools=[{"type": "function", "name": "web"}])) == (
            "the script wants a command here, but the request's tools are: web"
        )


async def test_tokens_are_counted_from_sizes_and_what_was_sent_before_is_cached():
    async with Client({"turns": [{"message": "x" * 400}, {"message": "y"}]}) as client:
        first = await client.ask()
        second = await client.ask(history=items(first))
    usage = [events(answer)[-1]["response"]["usage"] for answer in (first, second)]
    assert usage[0]["input_tokens_details"]["cached_tokens"] == 0
    assert usage[1]["input_tokens_details"]["cached_tokens"] == usage[0]["input_tokens"]
    assert usage[0]["output_tokens"] >= 100
    assert usage[1]["input_tokens"] > usage[0]["input_tokens"] > 0


async def test_what_was_heard_is_kept():
    async with Client(says("hello")) as client:
        await client.ask("Hi there", thread="t9")
        heard = client.model.requests[-1]
    assert (heard.method, heard.path, heard.headers["thread-id"]) == ("POST", "/v1/responses", "t9")
    assert heard.asked.prompt == "Hi there"
    assert heard.told == "hello: turn 1 of 1: message"
    assert json.loads(heard.body)["model"] == "gpt-5.5"


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[" * 200_000, b'{"model": 7, "input": []}', b"\xff\xfe", b'{"model": "m", "input": {}}']
)
async def test_a_body_that_is_no_request_is_refused(body):
    async with Client(says("hello")) as client:
        answer = await client.http.post(f"{client.model.base_url}/responses", content=body)
        assert answer.status_code == httpx.codes.BAD_REQUEST
        assert "not a request of the Responses API" in text(answer)


async def test_other_paths_hear_what_there_is():
    async with Client(says("hello")) as client:
        answer = await client.http.get(f"{client.model.base_url}/models")
        assert answer.status_code == httpx.codes.NOT_FOUND
        assert "answers POST /v1/responses and nothing else, not GET /v1/models" in text(answer)


async def test_one_connection_may_ask_several_times():
    async with Client(says("hello")) as client:
        for _ in range(3):
            assert text(await client.ask()) == "hello"


@pytest.mark.parametrize("place", ["before_headers", "after_headers"])
async def test_a_hang_is_silence_and_does_not_hold_up_the_end(place):
    async with Client({"turns": [{"hang": place}]}) as client:
        client.http.timeout = 0.3
        with pytest.raises(httpx.ReadTimeout):
            await client.ask()
        client.http.timeout = 5
        second = asyncio.create_task(client.ask(thread="b"))
        await asyncio.wait({second}, timeout=0.1)
        async with asyncio.timeout(2):
            await client.model.__aexit__(None, None, None)
        with pytest.raises(httpx.TransportError):
            await second


async def test_a_thread_can_hang_while_others_play():
    async with Client({"match": {"prompt": "slow"}, "turns": [{"hang": "before_headers"}]}, says("quick")) as client:
        slow = asyncio.create_task(client.ask("slow", thread="a"))
        assert text(await client.ask("now", thread="b")) == "quick"
        slow.cancel()


async def test_bytes_that_are_no_http_do_no_harm():
    async with Client(says("hello")) as client:
        port = int(client.model.base_url.split(":")[2].split("/")[0])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        assert await reader.read() == b""
        writer.close()
        assert text(await client.ask()) == "hello"
