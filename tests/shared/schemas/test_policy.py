"""What a policy may say, and what follows from it."""

import msgspec
import pytest

from shared.schemas.policy import Policy, merged


@pytest.mark.parametrize(
    ("progression", "index", "starts"),
    [
        ("manual", 1, False),
        ("auto", 1, True),
        ("auto", 999, True),
        ("auto_until:2", 1, True),
        ("auto_until:2", 2, True),
        ("auto_until:2", 3, False),
        ("auto_until:2", 7, False),
        ("auto_until:0", 0, True),
        ("auto_until:0", 1, False),
    ],
)
def test_which_steps_start_by_themselves(progression: str, index: int, starts: bool):
    assert Policy(progression=progression).starts_by_itself(index) is starts


@pytest.mark.parametrize("progression", ["", "automatic", "auto_until", "auto_until:", "auto_until:x", "auto_until:-1"])
def test_an_unknown_progression_is_refused(progression: str):
    with pytest.raises(msgspec.ValidationError, match="progression"):
        merged(Policy(), {"progression": progression})


def test_changes_are_laid_over_what_is_there():
    policy = merged(Policy(auto_fix=2), {"plan_approval": True})
    assert policy == Policy(auto_fix=2, plan_approval=True)


@pytest.mark.parametrize(
    "changes", [{"auto_fix": 11}, {"auto_fix": -1}, {"completion": "never"}, {"version": 2}, {"colour": "red"}]
)
def test_what_is_no_policy_is_refused(changes: dict[str, object]):
    with pytest.raises(msgspec.ValidationError):
        merged(Policy(), changes)
