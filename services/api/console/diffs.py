"""Makes pages of patches: split by file, cut to what a person can look at, coloured by Pygments for so long."""

import re
import time
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import groupby
from typing import Any, Final

import msgspec
from markupsafe import Markup, escape
from pygments.lexer import DelegatingLexer, Lexer
from pygments.lexers import find_lexer_class_for_filename
from pygments.token import Comment, Keyword, Name, Number, String

from services.api.console.text import visible
from shared.workflow.plan_files import FOLDER

# A longer line is cut; one that long is nobody's writing, and is not coloured.
MAX_LINE: Final = 1000
# What one page shows at most, beside its count of lines.
MAX_CHARS: Final = 150_000
LISTED: Final = 200
# Of the processor's time for the colours of a page: some texts keep some lexers busy for minutes. The rest has none.
COLOUR_S: Final = 0.1

_FILE = re.compile(r"^diff --git ", re.MULTILINE)
_HUNK = re.compile(r"^@@ -(\d{1,9})(?:,\d{1,9})? \+(\d{1,9})(?:,\d{1,9})? @@ ?(.*)", re.DOTALL)
_CUT = re.compile(r"^\[… cut after \d+ bytes\]$")
_ESCAPE = re.compile(r"\\([0-7]{3}|.)", re.DOTALL)
_ESCAPED: Final = {"t": b"\t", "n": b"\n", "r": b"\r", "a": b"\a", "b": b"\b", "f": b"\f", "v": b"\v"}
_CLASSES: Final = (
    (Comment, "c"),
    (String, "s"),
    (Number, "m"),
    (Keyword, "k"),
    (Name.Function, "f"),
    (Name.Class, "f"),
    (Name.Tag, "k"),
    (Name.Decorator, "f"),
    (Name.Attribute, "f"),
    (Name.Builtin, "b"),
)


class File(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a patch; `lines` are those from the first hunk on, as they stand in the patch."""

    number: int
    path: str
    was: str | None
    kind: str
    added: int
    deleted: int
    lines: Sequence[str]

    @property
    def ours(self) -> bool:
        """Whether it is the run's own account of its work, and none of the repository's."""
        return self.path.startswith(f"{FOLDER}/")


class Row(msgspec.Struct, frozen=True):
    """A line as it is shown: `kind` is add, del, same, hunk or note, `number` its place in the new or the old file."""

    kind: str
    number: str
    sign: str
    text: Markup


class Shown(msgspec.Struct, frozen=True):
    """The lines of one file that a page has room for; `first` is whether they begin the file."""

    file: File
    rows: Sequence[Row]
    first: bool
    left: int


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a patch; `next` is (file, line) where the next page begins."""

    files: Sequence[File]
    shown: Sequence[Shown]
    next: tuple[int, int] | None
    added: int
    deleted: int


def split(patch: str) -> list[File]:
    """The files of a patch. A line of a file's content never begins with `diff`, so the heads are found by it."""
    return [_file(number, chunk.split("\n")) for number, chunk in enumerate(_FILE.split(patch)[1:])]


def view(files: Sequence[File], *, room: int, file: int = 0, line: int = 0) -> View:
    """So many lines from this place on."""
    shown: list[Shown] = []
    chars = MAX_CHARS
    following: tuple[int, int] | None = None
    until = time.thread_time() + COLOUR_S
    for each in files[file:]:
        if room <= 0 or chars <= 0:
            following = (each.number, 0)
            break
        rows, taken, used = _rows(each, line, room, chars, until)
        left = max(0, len(each.lines) - line - taken)
        shown.append(Shown(each, rows, line == 0, left))
        room, chars = room - taken - 1, chars - used
        if left:
            following = (each.number, line + taken)
            break
        line = 0
    return View(
        files=files[:LISTED],
        shown=shown,
        next=following,
        added=sum(each.added for each in files),
        deleted=sum(each.deleted for each in files),
    )


def _file(number: int, chunk: list[str]) -> File:
    start = next((place for place, line in enumerate(chunk) if line.startswith("@@ ")), len(chunk))
    head, lines = chunk[:start], chunk[start:]
    if lines and not lines[-1]:
        lines = lines[:-1]
    old, new = _names(head)
    kind = "changed"
    for line in head[1:]:
        word = line.partition(" ")[0]
        kind = {"new": "new", "deleted": "deleted", "rename": "renamed", "Binary": "binary"}.get(word, kind)
    return File(
        number=number,
        path=old if kind == "deleted" else new,
        was=old if old != new and kind == "renamed" else None,
        kind=kind,
        added=sum(line.startswith("+") for line in lines),
        deleted=sum(line.startswith("-") for line in lines),
        lines=lines,
    )


def _names(head: Sequence[str]) -> tuple[str, str]:
    """The file's name before and after, from the line that says it without doubt."""
    old = new = ""
    for line in head[1:]:
        word, _, rest = line.partition(" ")
        if word == "rename" and rest.startswith("from "):
            old = _name(rest[5:], "")
        elif word == "rename" and rest.startswith("to "):
            new = _name(rest[3:], "")
        elif word == "---" and rest != "/dev/null":
            old = _name(rest, "a/")
        elif word == "+++" and rest != "/dev/null":
            new = _name(rest, "b/")
    both = head[0]
    # Of a file that has no hunks only the head tells, and there both names are the same.
    whole = _name(both[len(both) // 2 + 1 :], "b/")
    return old or new or whole, new or old or whole


def _name(text: str, prefix: str) -> str:
    text = text.rstrip("\t")
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = _unquoted(text[1:-1])
    return text.removeprefix(prefix)


def _unquoted(text: str) -> str:
    """A name as git quotes it: C's escapes, and bytes in octal."""
    parts: list[bytes] = []
    place = 0
    for found in _ESCAPE.finditer(text):
        parts.append(text[place : found.start()].encode())
        word = found[1]
        octal = len(word) == 3  # noqa: PLR2004  the digits of a byte
        parts.append(bytes([int(word, 8) & 0xFF]) if octal else _ESCAPED.get(word, word.encode()))
        place = found.end()
    return b"".join([*parts, text[place:].encode()]).decode("utf-8", "replace")


def _rows(file: File, line: int, room: int, chars: int, until: float) -> tuple[list[Row], int, int]:
    """The rows of the file's lines from `line` on, how many lines they are, and how many characters."""
    taken: list[str] = []
    used = 0
    for each in file.lines[line : line + room]:
        taken.append(each)
        used += min(len(each), MAX_LINE)
        if used >= chars:
            break
    old, new = _numbers_at(file.lines, line)
    marks: list[tuple[str, str, str, str]] = []
    for each in taken:
        sign, rest = each[:1], each[1:]
        if found := _HUNK.match(each):
            old, new = int(found[1]), int(found[2])
            marks.append(("hunk", "", "", found[3] or "…"))
        elif sign == "+":
            marks.append(("add", str(new), "+", rest))
            new += 1
        elif sign == "-":
            marks.append(("del", str(old), "−", rest))
            old += 1
        elif sign == "\\" or _CUT.match(each):
            marks.append(("note", "", "", each.lstrip("\\ ")))
        else:
            marks.append(("same", str(new), "", rest))
            old, new = old + 1, new + 1
    texts = _coloured(file.path, marks, until)
    return (
        [Row(kind, number, sign, text) for (kind, number, sign, _), text in zip(marks, texts, strict=True)],
        len(taken),
        used,
    )


def _numbers_at(lines: Sequence[str], place: int) -> tuple[int, int]:
    """The numbers in the old and the new file that a page in the middle of a hunk goes on with."""
    start = next((at for at in range(place - 1, -1, -1) if lines[at].startswith("@@ ")), None)
    found = _HUNK.match(lines[start]) if start is not None else None
    if found is None or start is None:
        return 1, 1
    between = lines[start + 1 : place]
    olds = sum(not each.startswith(("+", "\\")) for each in between)
    news = sum(not each.startswith(("-", "\\")) for each in between)
    return int(found[1]) + olds, int(found[2]) + news


def _coloured(path: str, marks: Sequence[tuple[str, str, str, str]], until: float) -> list[Markup]:
    """The lines as HTML: what is new or stays is read as one text, what was before as another."""
    texts = [_inert(text) for _, _, _, text in marks]
    shown = [escape(text) for text in texts]
    lexer = None if any(len(text) >= MAX_LINE for text in texts) else _lexer(path)
    if lexer is not None:
        for kinds in (("del", "same"), ("add", "same")):
            if not any(mark[0] == kinds[0] for mark in marks):
                continue
            places = [place for place, mark in enumerate(marks) if mark[0] in kinds]
            for place, coloured in zip(places, _spans(lexer, [texts[place] for place in places], until), strict=False):
                shown[place] = coloured
    return shown


def _inert(text: str) -> str:
    """A line on which nothing moves, hides or goes on for ever."""
    if len(text) > MAX_LINE:
        text = f"{text[:MAX_LINE]} … {len(text) - MAX_LINE} more characters"
    return visible(text).replace("\r", "␍")


def _lexer(path: str) -> Lexer | None:
    """What reads this kind of file. None where it, or one for a language inside, reads all before its first token."""
    found: Any = find_lexer_class_for_filename(path.rpartition("/")[2])
    if found is None or issubclass(found, DelegatingLexer):
        return None
    return found(stripnl=False, ensurenl=False, handlecodeblocks=False)


def _spans(lexer: Lexer, lines: Sequence[str], until: float) -> Iterator[Markup]:
    """The first of the lines, with a class around what the lexer knows: as many as it leaves whole by that time."""
    row, read, wanted = "", "", iter(lines)
    for name, pieces in groupby(_tokens(lexer, "\n".join(lines), until), key=lambda token: token[0]):
        text = "".join(text for _, text in pieces)
        for number, piece in enumerate(text.split("\n")):
            if number:
                if read != next(wanted, None):
                    return
                yield Markup(row)  # noqa: S704  each piece was escaped
                row = read = ""
            if piece:
                read += piece
                row += f'<span class="{name}">{escape(piece)}</span>' if name else str(escape(piece))
    if read == next(wanted, None):
        yield Markup(row)  # noqa: S704  each piece was escaped


def _tokens(lexer: Lexer, text: str, until: float) -> Iterator[tuple[str, str]]:
    for kind, piece in lexer.get_tokens(text):
        yield _class_of(kind), piece
        if time.thread_time() > until:
            return


@cache
def _class_of(kind: Any) -> str:
    return next((name for parent, name in _CLASSES if kind in parent), "")
