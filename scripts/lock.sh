#!/usr/bin/env bash
# Writes the three locks from pyproject.toml, and those of bench/peers from their .in files: for every platform, with
# hashes, naming no index and no address.
#
#   scripts/lock.sh              keeps what the locks already say wherever it still fits
#   scripts/lock.sh --upgrade    takes the newest of everything
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
tool=.venv-lock
[[ -x $tool/bin/uv ]] || { "${PYTHON:-python3}" -m venv "$tool" && "$tool/bin/python" -m pip install --quiet uv==0.13.9; }

compile() {
    # Neither uv's own settings nor a local folder of wheels may decide what is locked.
    env -u UV_FIND_LINKS -u UV_EXTRA_INDEX_URL -u UV_INDEX -u UV_CONSTRAINT -u UV_OVERRIDE \
        "$tool/bin/uv" pip compile --no-config --system-certs --quiet --universal --python-version 3.11 \
        --generate-hashes --no-header --no-annotate --no-emit-index-url "$@"
}

compile pyproject.toml --extra codex --group dev --output-file requirements-dev.lock "$@"
compile pyproject.toml --extra codex --constraint requirements-dev.lock --output-file requirements-codex.lock "$@"
compile pyproject.toml --constraint requirements-dev.lock --output-file requirements.lock "$@"
for peer in bench/peers/*.in; do
    compile "$peer" --output-file "${peer%.in}.lock" "$@"
done
