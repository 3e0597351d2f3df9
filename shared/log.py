"""The place for log records: one line each whatever is in them, in UTC, redacted, with the ids of their subject."""

import json
import logging
import random
import re
import sys
import traceback
from typing import Any, TextIO, cast

import structlog
from structlog.contextvars import merge_contextvars
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor

from shared.redaction import Redactor, repr_of

# Bound with structlog.contextvars by whoever knows them; every record within carries them.
IDS = ("request_id", "protocol", "step", "job", "attempt")

MAX_TEXT_CHARS = 16_384
MAX_FRAMES = 8
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

# What could end a line, colour it or turn it round: control characters, separators, bidi marks, lone surrogates.
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

# Louder than they deserve: a line per HTTP request or per job, which our own records cover.
QUIET = ("arq", "asyncio", "httpcore", "httpx", "uvicorn.access")

COLOURS = {"debug": "\x1b[2m", "info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31m"}
RESET = "\x1b[0m"
ONE_BYTE = 0x100

# Request ids need not be hard to guess, and asking the kernel for each costs as much as reading a row.
_ids = random.Random()  # noqa: S311

FIRST = ("timestamp", "level", "logger", "event", *IDS)


def configure(
    *, level: str = "INFO", as_json: bool | None = None, redactor: Redactor | None = None, stream: TextIO | None = None
) -> None:
    """Send every record of this process, structlog's and the standard library's, through one formatter to stderr.

    `as_json` left open means: when the stream is no terminal. Asked twice, the last one counts.
    """
    out = stream or sys.stderr
    plain = out.isatty() if as_json is None else not as_json
    clean = _Clean(redactor or Redactor(), in_short=plain)
    shared: list[Processor] = [
        merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.addFilter(_survive_bad_arguments)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                ProcessorFormatter.remove_processors_meta,
                clean,
                _ForPerson(colours=out.isatty()) if plain else _for_machine,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(capture=True)


def request_id_from(header: str | None) -> str:
    """The caller's own request id when it is harmless, else a new one."""
    return header if header and REQUEST_ID.fullmatch(header) else f"{_ids.getrandbits(64):016x}"


def on_one_line(text: str) -> str:
    """The text with everything escaped that could break a line or speak to a terminal."""
    return UNPRINTABLE.sub(_escaped, text)


class _Clean:
    """Makes a record safe: exceptions become text, secrets go, types become plain, long texts are cut."""

    def __init__(self, redactor: Redactor, *, in_short: bool) -> None:
        self._redactor = redactor
        self._in_short = in_short

    def __call__(self, _logger: object, _method: str, record: EventDict) -> dict[str, Any]:
        raised = _raised(record.pop("exc_info", None))
        if raised is not None:
            record["exception"] = _in_short(raised) if self._in_short else "".join(traceback.format_exception(raised))
        cleaned = {name: _cut(value) for name, value in self._redactor.clean(record).items()}
        return {name: cleaned.pop(name) for name in FIRST if name in cleaned} | cleaned


def _raised(exc_info: object) -> BaseException | None:
    match exc_info:
        case BaseException():
            return exc_info
        case tuple():
            return cast("tuple[Any, BaseException | None, Any]", exc_info)[1]
        case True:
            return sys.exc_info()[1]
        case _:
            return None


def _in_short(raised: BaseException) -> str:
    """`KeyError: 'x' at worker.py:12 in run, pump.py:40 in ring`, the innermost place first."""
    frames = traceback.extract_tb(raised.__traceback__)[-MAX_FRAMES:]
    places = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} in {frame.name}" for frame in reversed(frames)]
    what = "".join(traceback.format_exception_only(raised)).strip()
    return f"{what} at {', '.join(places)}" if places else what


def _cut(value: Any) -> Any:
    if isinstance(value, str) and len(value) > MAX_TEXT_CHARS:
        return f"{value[:MAX_TEXT_CHARS]}… ({len(value)} characters)"
    return value


def _for_machine(_logger: object, _method: str, record: EventDict) -> str:
    return json.dumps(record)


class _ForPerson:
    def __init__(self, *, colours: bool) -> None:
        self._colours = COLOURS if colours else {}

    def __call__(self, _logger: object, _method: str, record: EventDict) -> str:
        rest = dict(record)
        time, level, event = (str(rest.pop(name, "")) for name in ("timestamp", "level", "event"))
        rest.pop("logger", None)
        pairs = (f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in rest.items())
        line = on_one_line("  ".join([f"{level:<8}{event}", *pairs]))
        return f"{time[11:23]}  {self._colours.get(level, '')}{line[:8]}{RESET if self._colours else ''}{line[8:]}"


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    named = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\x1b": "\\e"}
    return named.get(match[0]) or (f"\\x{code:02x}" if code < ONE_BYTE else f"\\u{code:04x}")


def _survive_bad_arguments(record: logging.LogRecord) -> bool:
    """A filter: a record whose arguments do not fit its message is written with both, instead of a traceback."""
    if isinstance(record.msg, str):
        try:
            record.getMessage()
        except Exception:  # noqa: BLE001  a foreign __str__ may raise anything, and the record must be written
            record.msg, record.args = f"{record.msg} {repr_of(record.args)}", ()
    return True
