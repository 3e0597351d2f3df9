"""What people are shown of an agent's work."""

import pytest

from shared.schemas.transcript import Item, spoken

DEEP = '{"x":' * 3000


@pytest.mark.parametrize(
    ("item", "text"),
    [
        (Item(place=0, kind="command", text="/bin/bash -lc 'make test'"), "make test"),
        (Item(place=0, kind="command", text="/bin/bash -c ls -l"), "/bin/bash -c ls -l"),
        (Item(place=0, kind="command", text="echo 'open"), "echo 'open"),
        (Item(place=0, kind="command", text=f"bash -c '{'x' * 9000}'"), f"bash -c '{'x' * 9000}'"),
        (Item(place=0, kind="patch", files=(("update", "/srv/w/worktrees/3/0001-x/src/a.py"),)), "src/a.py"),
        (
            Item(place=0, kind="patch", files=(("add", "/w/qa/7/a.py"), ("add", "b/worktrees/1/c/d"))),
            "a.py, b/worktrees/1/c/d",
        ),
        (Item(place=0, kind="patch", files=(("add", "/w/worktrees/3/x/b/worktrees/1/c/d"),)), "b/worktrees/1/c/d"),
        (Item(place=0, kind="message", text='{"summary":"All is well.","verdict":"pass"}'), "All is well."),
        (Item(place=0, kind="message", text='{"other":1}'), '{"other":1}'),
        (Item(place=0, kind="message", text=DEEP), DEEP),
    ],
)
def test_what_only_machines_need_is_left_out_of_what_is_spoken(item: Item, text: str) -> None:
    assert spoken(item) == text
