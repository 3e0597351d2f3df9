"""Secrets are compared in a time that tells nothing, by `same` or `hmac.compare_digest`, never by `==`."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECRETIVE = re.compile(r"secret|signature|passw|hmac|api_token|webhook_token|bearer|reveal", re.IGNORECASE)


def name_of(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=func):
            return name_of(func)
        case _:
            return ""


def bare_comparisons(source: str) -> Iterator[int]:
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Compare)
            and any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops)
            and any(SECRETIVE.search(name_of(side)) for side in (node.left, *node.comparators))
        ):
            yield node.lineno


def test_no_secret_is_compared_by_an_operator() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for room in ("services", "shared")
        for path in sorted((ROOT / room).rglob("*.py"))
        for line in bare_comparisons(path.read_text())
    ]
    assert not found, "\n".join(found)


def test_such_a_comparison_would_be_seen() -> None:
    for source in ("given == api_token", "x.signature != y", "secret.reveal() == given", "a == hmac(b)"):
        assert list(bare_comparisons(source)) == [1]
