"""Patches as pages: whose lines they are, in what colour, and how much of them."""

import html
import re
import time

import pytest

from services.api.console import diffs

HEAD = "diff --git a/a.py b/a.py\n--- a/a.py\n+++ b/a.py\n"


def test_files_are_told_apart_by_their_heads_and_named_as_git_means_them() -> None:
    patch = (
        f"{HEAD}@@ -1 +1 @@\n-diff --git a/b b/b\n+--- a/x\n"
        'diff --git "a/\\303\\244 \\"q\\".txt" "b/\\303\\244 \\"q\\".txt"\nnew file mode 100644\n--- /dev/null\n'
        '+++ "b/\\303\\244 \\"q\\".txt"\n@@ -0,0 +1 @@\n+x\n'
        "diff --git a/old.txt b/new.txt\nsimilarity index 100%\nrename from old.txt\nrename to new.txt\n"
        "diff --git a/pic.png b/pic.png\nBinary files a/pic.png and b/pic.png differ\n"
        "diff --git a/gone b/gone\ndeleted file mode 100644\n--- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n"
    )
    found = [(each.path, each.was, each.kind, each.added, each.deleted) for each in diffs.split(patch)]
    assert found == [
        ("a.py", None, "changed", 1, 1),
        ('ä "q".txt', None, "new", 1, 0),
        ("new.txt", "old.txt", "renamed", 0, 0),
        ("pic.png", None, "binary", 0, 0),
        ("gone", None, "deleted", 0, 1),
    ]


def test_lines_have_the_numbers_of_their_files_also_in_the_middle_of_a_hunk() -> None:
    patch = f"{HEAD}@@ -10,3 +20,4 @@ def f():\n one\n-two\n+deux\n+more\n three\n\\ No newline at end of file\n"
    files = diffs.split(patch)
    rows = diffs.view(files, room=50).shown[0].rows
    assert [(row.kind, row.number) for row in rows] == [
        ("hunk", ""),
        ("same", "20"),
        ("del", "11"),
        ("add", "21"),
        ("add", "22"),
        ("same", "23"),
        ("note", ""),
    ]
    later = diffs.view(files, room=50, line=4).shown[0]
    assert not later.first
    assert [(row.kind, row.number) for row in later.rows] == [("add", "22"), ("same", "23"), ("note", "")]


def test_every_line_is_on_exactly_one_page() -> None:
    patch = "".join(
        f"diff --git a/{name} b/{name}\n--- a/{name}\n+++ b/{name}\n@@ -0,0 +1,{count} @@\n"
        + "".join(f"+{name} {number}\n" for number in range(count))
        for name, count in (("a", 7), ("b", 1), ("c", 30))
    )
    files, place, seen = diffs.split(patch), (0, 0), list[str]()
    while place is not None:
        view = diffs.view(files, room=10, file=place[0], line=place[1])
        seen += [row.text for shown in view.shown for row in shown.rows if row.kind == "add"]
        place = view.next
    assert seen == [f"{name} {number}" for name, count in (("a", 7), ("b", 1), ("c", 30)) for number in range(count)]


def test_code_is_coloured_by_the_language_of_its_file_and_stays_what_it_is() -> None:
    rows = diffs.view(diffs.split(f'{HEAD}@@ -1 +1 @@\n-x = "<b>"\n+x = 1  # <i>\n'), room=9).shown[0].rows
    assert rows[1].text == 'x = <span class="s">&#34;&lt;b&gt;&#34;</span>'
    assert rows[2].text == 'x = <span class="m">1</span>  <span class="c"># &lt;i&gt;</span>'


def test_what_a_terminal_would_obey_is_only_seen() -> None:
    rows = (
        diffs.view(diffs.split(f"{HEAD}@@ -0,0 +1,2 @@\n+a\x1b[2J\u202eb\r\n+'''\x0c\u2028x\n"), room=9).shown[0].rows
    )
    assert rows[1].text.striptags() == "a␛[2J‹U+202E›b␍"
    assert "␌‹U+2028›x" in rows[2].text


def test_a_long_line_is_cut_and_nothing_of_it_coloured() -> None:
    view = diffs.view(diffs.split(f"{HEAD}@@ -0,0 +1 @@\n+{'x=1;' * 250_000}\n"), room=9)
    text = view.shown[0].rows[1].text
    assert text.endswith(" … 999000 more characters")
    assert "<span" not in text


def test_a_patch_that_was_cut_says_so() -> None:
    rows = diffs.view(diffs.split(f"{HEAD}@@ -0,0 +1,9 @@\n+x\n[… cut after 5000000 bytes]\n"), room=9).shown[0].rows
    assert (rows[-1].kind, rows[-1].text) == ("note", "[… cut after 5000000 bytes]")


def test_what_is_no_patch_is_no_file() -> None:
    assert diffs.split("") == []
    assert diffs.split("nothing of the kind\n@@ -1 +1 @@\n+x\n") == []
    assert diffs.view([], room=5).next is None
    assert diffs.view(diffs.split(f"{HEAD}@@ -0,0 +1 @@\n+x\n"), room=5, file=7, line=7).shown == []


BUSY = [
    ("A.java", "", "a " * 145),
    ("a.html", "", "<!--" * 70),
    ("a.sql", "", "[" * 290),
    ("a.cfm", "", "<!--" * 70),  # read as a whole before its first token, as all that has a language around another
    ("a.md", "```cfm", "<!--" * 70),
]


@pytest.mark.parametrize(("name", "first", "line"), BUSY)
def test_what_keeps_a_lexer_busy_for_minutes_is_shown_without_its_colours(name: str, first: str, line: str) -> None:
    patch = f"diff --git a/{name} b/{name}\n--- /dev/null\n+++ b/{name}\n@@ -0,0 +1,500 @@\n"
    patch += f"+{first or line}\n" + f"+{line}\n" * 497 + ("+```\n" if first else f"+{line}\n") + f"+{line}\n"
    began = time.thread_time()
    (shown,) = diffs.view(diffs.split(patch), room=501).shown
    assert time.thread_time() - began < 2
    assert {html.unescape(re.sub(r"</?span[^>]*>", "", row.text)) for row in shown.rows[2:-2]} == {line}
    assert len(shown.rows) == 501
