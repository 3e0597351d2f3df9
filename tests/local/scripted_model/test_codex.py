"""The real Codex CLI against the scripted model: what it is told to do is really done."""

import json

import pytest

from services.local.scripted_model import ScriptedModel, parse_script

PATCH = """\
*** Begin Patch
*** Update File: calc.py
@@
 def add(a, b):
-    return a - b
+    return a + b
*** Add File: NEW.md
+# New
+EOF
*** End Patch
"""
ANSWER = {"summary": "fixed “add”", "count": 1}
SCHEMA = {
    "type": "object",
    "properties": {"summary": {"type": "string"}, "count": {"type": "integer"}},
    "required": ["summary", "count"],
    "additionalProperties": False,
}
# One of each tool protocol: exec_command alone, custom apply_patch, JavaScript.
SLUGS = ["mock-model", "gpt-5.5", "gpt-6.1-sol"]


def one(*turns, **fields):
    return parse_script({"conversations": [{"turns": list(turns), **fields}]})


@pytest.mark.parametrize("slug", SLUGS)
async def test_a_command_a_patch_and_an_answer_reach_every_tool_protocol(codex, slug):
    script = one(
        {"reasoning": "thinking", "message": "I look first.", "command": "cat calc.py; echo 'it''s' \"$((6*7))\""},
        {"patch": PATCH},
        {"command": {"run": "pwd; cat ../calc.py", "workdir": "sub"}},
        {"answer": ANSWER},
    )
    (codex.repo / "sub").mkdir()
    async with ScriptedModel(script) as model:
        run = await codex.run(model.base_url, "Fix add", model=slug, schema=SCHEMA)
    assert run.code == 0, run.stderr
    assert json.loads(run.messages[-1]) == ANSWER
    assert run.messages[0] == "I look first."
    assert run.commands[0] == (0, "def add(a, b):\n    return a - b\nits 42\n")
    assert run.commands[1] == (0, f"{codex.repo}/sub\ndef add(a, b):\n    return a + b\n")
    assert (codex.repo / "NEW.md").read_text() == "# New\nEOF\n"
    changed = [change["kind"] for item in run.items if item["type"] == "file_change" for change in item["changes"]]
    assert sorted(changed) == ["add", "update"]


async def test_a_resumed_thread_goes_on_where_it_was(codex):
    script = one({"command": "echo one"}, {"message": "first"}, {"command": "echo two"}, {"message": "second"})
    async with ScriptedModel(script) as model:
        first = await codex.run(model.base_url, "Begin")
    async with ScriptedModel(script) as model:  # a new server: the place is in the request
        second = await codex.run(model.base_url, "Go on", resume=first.thread)
    assert (first.messages, second.messages) == (["first"], ["second"])
    assert second.commands == [(0, "two\n")]


async def test_a_command_that_is_slow_is_waited_for(codex):
    script = one({"command": {"run": "sleep 1; echo late", "timeout_s": 60}}, {"message": "end"})
    async with ScriptedModel(script) as model:
        run = await codex.run(model.base_url, "Wait", model="mock-model")
    assert run.commands == [(0, "late\n")]


@pytest.mark.parametrize("slug", ["mock-model", "gpt-6.1-sol"])
async def test_a_command_over_its_time_is_left_running(codex, slug):
    script = one({"command": {"run": "sleep 100", "timeout_s": 1}}, {"message": "end"})
    async with ScriptedModel(script) as model:
        run = await codex.run(model.base_url, "Wait", model=slug)
    assert (run.code, run.messages, run.commands) == (0, ["end"], [])


async def test_an_error_is_played_once_and_then_the_turns(codex):
    script = one({"error": {"status": 500}}, {"message": "after all"})
    async with ScriptedModel(script) as model:
        run = await codex.run(model.base_url, "Hi", retries=1)
        assert [heard.told for heard in model.requests] == [
            "conversations[0]: turn 1 of 2: error",
            "conversations[0]: turn 2 of 2: message",
        ]
    assert (run.code, run.messages) == (0, ["after all"])


@pytest.mark.parametrize(
    ("turn", "failure"),
    [
        ({"error": {"status": 401, "message": "no such key"}}, "unexpected status 401 Unauthorized: no such key"),
        ({"error": {"status": 429, "headers": {"Retry-After": "0"}}}, "exceeded retry limit, last status: 429"),
        ({"error": {"status": 429, "code": "insufficient_quota"}}, "Quota exceeded"),
        ({"error": {"status": 500}}, "high demand"),
        ({"error": {"status": 503, "code": "server_is_overloaded"}}, "at capacity"),
        ({"error": {"status": 400, "body": '{"why": "so"}'}}, '{"why": "so"}'),
        ({"failed": {"code": "context_length_exceeded"}}, "ran out of room"),
        ({"failed": {"code": "invalid_prompt", "message": "not this"}}, "not this"),
        ({"incomplete": "max_output_tokens"}, "Incomplete response returned, reason: max_output_tokens"),
        ({"cut": 1}, "stream disconnected before completion"),
        ({"cut": {"after": 1, "how": "reset"}}, "stream disconnected before completion"),
        ({"cut": {"after": 1, "how": "end"}}, "stream closed before response.completed"),
        ({"garbage": "not_http"}, "stream disconnected before completion"),
        ({"garbage": "html"}, "stream closed before response.completed"),
        ({"garbage": "empty"}, "stream closed before response.completed"),
        ({"garbage": "bad_event"}, "stream closed before response.completed"),
    ],
)
async def test_a_fault_ends_the_turn_with_the_text_of_the_real_thing(codex, turn, failure):
    async with ScriptedModel(one({**turn, "times": "always"})) as model:
        run = await codex.run(model.base_url, "Hi")
    assert run.code == 1
    assert failure in run.failure


async def test_a_malformed_item_is_dropped_by_codex_without_a_word(codex):
    async with ScriptedModel(one({"garbage": "bad_item"})) as model:
        run = await codex.run(model.base_url, "Hi")
    assert (run.code, run.messages) == (0, [])


async def test_items_before_a_cut_are_done_and_not_repeated(codex):
    script = one({"command": "echo done >> done.txt", "cut": 2}, {"message": "end"})
    async with ScriptedModel(script) as model:
        run = await codex.run(model.base_url, "Hi", retries=1)
    assert run.messages == ["end"]
    assert (codex.repo / "done.txt").read_text() == "done\n"


async def test_a_prompt_that_the_script_does_not_know_ends_with_a_plain_text(codex):
    script = one({"message": "hello"}, name="greeting", match={"prompt": "^Hello"})
    async with ScriptedModel(script) as model:
        run = await codex.run(model.base_url, "Good bye, Codex")
    assert run.code == 1
    assert "no conversation of the script matches: the prompt starts with 'Good bye, Codex'" in run.failure
    assert "conversations: greeting (prompt '^Hello')" in run.failure


async def test_a_thread_that_asks_for_more_than_there_is_hears_so(codex):
    async with ScriptedModel(one({"message": "all I have"}, name="short")) as model:
        first = await codex.run(model.base_url, "Hi")
        second = await codex.run(model.base_url, "More", resume=first.thread)
    assert "the script has no turn 2 in short" in second.failure
    assert "it asks on with 'More'" in second.failure


async def test_the_usage_that_codex_reports_is_the_script_s(codex):
    usage = {"input_tokens": 70, "cached_input_tokens": 30, "output_tokens": 20, "reasoning_output_tokens": 10}
    async with ScriptedModel(one({"message": "hi", "usage": usage})) as model:
        run = await codex.run(model.base_url, "Hi")
    assert run.events[-1]["usage"].items() >= usage.items()


async def test_a_model_that_may_not_write_cannot(codex):
    script = one({"patch": PATCH}, {"message": "end"})
    async with ScriptedModel(script) as model:
        run = await codex.run(model.base_url, "Fix", sandbox="read-only")
        assert "message (the patch before was not applied: patch rejected: writing" in model.requests[-1].told
    assert run.code == 0
    assert not (codex.repo / "NEW.md").exists()


@pytest.mark.parametrize("slug", SLUGS)
async def test_a_patch_that_does_not_fit_is_told(codex, slug):
    script = one({"patch": PATCH.replace("a - b", "a * b")}, {"message": "done, I believe"})
    async with ScriptedModel(script) as model:
        run = await codex.run(model.base_url, "Fix", model=slug)
        assert "the patch before was not applied: apply_patch verification failed: F" in model.requests[-1].told
    assert run.messages == ["done, I believe"]
