"""What a script may say, and the one line that names the place of a mistake."""

import json

import pytest

from services.local.scripted_model import ScriptError, load_script, parse_script

PLAY = """
name = "demo"
[[conversations]]
match.prompt = 'execute step (?P<step>\\d+)'
[[conversations.turns]]
command = "ls"
[[conversations.turns]]
items = [{ message = "one" }, { message = "two" }]
[[conversations.turns]]
answer = { summary = "done" }
"""


def test_a_script_is_read_from_toml(tmp_path):
    (tmp_path / "play.toml").write_text(PLAY)
    script = load_script(tmp_path / "play.toml")
    assert script.name == "demo"
    assert [turn.told for turn in script.conversations[0].turns] == ["command", "message, message", "answer"]


def test_a_script_is_read_from_json_and_called_as_its_file(tmp_path):
    (tmp_path / "play.json").write_text(json.dumps({"conversations": [{"turns": [{"message": "hi"}]}]}))
    assert load_script(tmp_path / "play.json").name == "play.json"


def turn(**fields):
    return {"conversations": [{"turns": [{"message": "fine"}]}, {"turns": [fields]}]}


def match(**fields):
    return {"conversations": [{"turns": [{"message": "fine"}], "match": fields}]}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({}, "missing key `conversations`"),
        ({"conversations": []}, "conversations: Expected `array` of length >= 1"),
        ({"conversations": [{"turns": []}]}, "conversations[0].turns: Expected `array` of length >= 1"),
        ({"conversations": [{}]}, "conversations[0]: missing key `turns`"),
        (
            turn(),
            "conversations[1].turns[0]: says nothing; give one of reasoning, message,",
        ),
        (turn(massage="hi"), "conversations[1].turns[0]: unknown key `massage`"),
        (turn(message=7), "conversations[1].turns[0].message: Expected `str | null`, got `int`"),
        (turn(command={"cmd": "ls"}), "conversations[1].turns[0].command: unknown key `cmd`"),
        (turn(command=" "), "conversations[1].turns[0].command: is empty"),
        (turn(patch="--- a/x"), "conversations[1].turns[0].patch: begins with the line `*** Begin Patch`"),
        (turn(patch=""), "conversations[1].turns[0].patch: begins with the line `*** Begin Patch`"),
        (turn(items=[{"patch": "x"}]), "conversations[1].turns[0].items[0].patch: begins"),
        (turn(items=[{}]), "conversations[1].turns[0].items[0]: exactly one of reasoning, message"),
        (turn(items=[{"message": "a", "command": "b"}]), "conversations[1].turns[0].items[0]: exactly one of"),
        (turn(items=[{"message": "a"}], message="b"), "conversations[1].turns[0]: give either `items` or `message`"),
        (
            turn(error={"status": 500}, hang="before_headers"),
            "conversations[1].turns[0]: one fault per turn, not error",
        ),
        (turn(error={"status": 500}, message="x"), "conversations[1].turns[0]: `error` sends no items"),
        (turn(error={"status": 200}), "conversations[1].turns[0].error.status: Expected `int` >= 400"),
        (turn(message="x", times=2), "conversations[1].turns[0].times: only a fault is played several times"),
        (turn(hang="soon"), "conversations[1].turns[0].hang: Invalid enum value 'soon'"),
        (turn(error={"status": 500, "headers": {"a": "b\r\nc"}}), "conversations[1].turns[0].error.headers: not an"),
        (turn(error={"status": 500, "headers": {"a b": "c"}}), "conversations[1].turns[0].error.headers: not an HTTP"),
        (turn(error={"status": 500, "headers": {"Content-Length": "7"}}), "conversations[1].turns[0].error.headers: C"),
        (match(prompt="("), "conversations[0].match.prompt: not a regular expression"),
        (match(prompt=["fine", "["]), "conversations[0].match.prompt: not a regular expression"),
        (match(model="*"), "conversations[0].match.model: not a regular expression"),
        (match(nth=0), "conversations[0].match.nth: Expected `int` >= 1"),
        (match(nth=[1, 0]), "conversations[0].match.nth: threads are counted from 1"),
    ],
)
def test_a_mistake_is_named_with_its_place(data, text):
    with pytest.raises(ScriptError) as caught:
        parse_script(data)
    assert str(caught.value).startswith(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("play.toml", b"[[conversations", "not TOML"),
        ("play.json", b"{", "not JSON"),
        ("play.json", b"[" * 200_000, "not JSON"),
        ("play.toml", b"a = " + b"[" * 200_000, "not TOML"),
        ("play.json", b"[]", "a script is a table with `conversations`"),
        ("play.toml", b"\xff", "cannot be read"),
        ("play.toml", None, "cannot be read"),
    ],
)
def test_a_file_that_is_no_script_is_named(tmp_path, name, content, text):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ScriptError) as caught:
        load_script(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: {text}")
