"""The documentation says what the code does: its generated parts are as `make docs` writes them."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def docs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs", ROOT / "scripts" / "docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_generated_pages_are_what_make_docs_writes(docs: ModuleType) -> None:
    stale = [path.name for path, text in docs.generated().items() if path.read_text(encoding="utf-8") != text]
    assert not stale, f"run `make docs`: {stale}"


def test_every_file_that_a_page_links_to_is_there() -> None:
    for page in (ROOT / "README.md", ROOT / "services" / "README.md", ROOT / "deploy" / "README.md"):
        for part in page.read_text(encoding="utf-8").split("](")[1:]:
            target = part.partition(")")[0]
            if not target.startswith(("http", "#")):
                assert (page.parent / target.partition("#")[0]).exists(), f"{page.name}: {target}"


def test_every_promise_names_a_test_that_is_there() -> None:
    page = (ROOT / "services" / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[a-z_/]+\.py)::(test_[a-z_]+)`", page)
    assert named
    missing = [name for path, name in named if f"def {name}(" not in (ROOT / path).read_text(encoding="utf-8")]
    assert not missing
