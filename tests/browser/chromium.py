"""Where the browser of the browser tests is; `python -m tests.browser.chromium` says in one line when there is none."""

import os
import shutil
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = "the browser tests did not run: install Chromium (apt-get install chromium), or set CHROMIUM to its path"


def find_chromium() -> str | None:
    """The path of a Chromium: that in CHROMIUM, or the first on PATH."""
    named = os.environ.get("CHROMIUM")
    return shutil.which(named) if named else next((path for name in NAMES if (path := shutil.which(name))), None)


if __name__ == "__main__" and find_chromium() is None:
    sys.stdout.write(f"{MISSING}\n")
