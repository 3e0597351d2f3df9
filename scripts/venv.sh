#!/usr/bin/env bash
# Makes .venv hold exactly what one lock names, and costs nothing when it already does.
#
#   scripts/venv.sh requirements-dev.lock        PYTHON=/path/to/python  chooses the interpreter
#
# Progress goes to stderr. When it cannot go on, the reason is one line on stdout and the exit status is 2
# (so that make can stop with just that line).
set -euo pipefail

lock=${1:?usage: scripts/venv.sh LOCK}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$root"
venv=.venv
stamp=$venv/.installed
log=$venv/install.log

refuse() {
    printf '%s\n' "$1"
    exit 2
}

say() {
    printf '%s\n' "$1" >&2
}

# Prints "3.12" when the interpreter runs at all and can make environments. (A pyenv shim of a version that is not
# selected is on PATH and fails; a Debian python3 may come without ensurepip.)
version_of() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null </dev/null
}

can_make_environments() {
    "$1" -c 'import ensurepip, venv' >/dev/null 2>&1 </dev/null
}

# Sets $python: what the person chose, else the newest of those this is tested with, else a newer one with a warning.
find_python() {
    local candidate version newer='' older='' lame=''
    local candidates=(python3.13 python3.12 python3.11 python3 python python3.14 python3.15)
    [[ -n ${PYTHON:-} ]] && candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        version=$(version_of "$candidate") || continue
        case $version in
            3.1[123])
                if can_make_environments "$candidate"; then
                    python=$candidate
                    return
                fi
                lame=${lame:-$candidate}
                ;;
            3.[0-9] | 3.10 | 2.*) older=${older:-"$candidate here is $version"} ;;
            *) newer=${newer:-$candidate} ;;
        esac
    done
    if [[ -n $newer ]] && can_make_environments "$newer"; then
        say "warning: $newer is Python $(version_of "$newer"), newer than 3.11 to 3.13 that this is tested with; trying it"
        python=$newer
        return
    fi
    [[ -n $lame ]] && refuse "$lame comes without the venv module: install it (Debian: apt install $lame-venv), then run this again"
    [[ -z $older && -n ${PYTHON:-} ]] && older="PYTHON=$PYTHON does not run"
    refuse "DeksdenFlow needs Python 3.11, 3.12 or 3.13, and ${older:-there is no python3 on PATH} (PYTHON=/path/to/python chooses one)"
}

digest() {
    sha256sum "$1" | cut -d ' ' -f 1
}

# The venv stands where it was made and its interpreter still runs.
is_sound() {
    [[ -f $stamp ]] && [[ $(head -n 1 "$stamp") == "$root/$venv $(version_of "$venv/bin/python")" ]]
}

# Nobody has asked for another interpreter since.
is_wanted() {
    [[ -z ${PYTHON:-} ]] || [[ $(version_of "$PYTHON") == "$(version_of "$venv/bin/python")" ]]
}

holds() {
    grep -qxF "$1 $(digest "$1")" "$stamp"
}

explain_failure() {
    tail -n 15 "$log" >&2
    if grep -qiE 'NewConnectionError|NameResolution|name resolution|ConnectTimeout|timed out|Network is unreachable|ProxyError|SSLError|CERTIFICATE_VERIFY' "$log"; then
        refuse "the package index cannot be reached: check the network and pip's settings (PIP_INDEX_URL, PIP_PROXY, PIP_CERT), then run this again"
    fi
    refuse "installing $lock failed; all of pip's output is in $log"
}

install() {
    local count started=$SECONDS first=''
    if ! { is_sound && is_wanted; }; then
        find_python
        first=' (first time only)'
        rm -rf "$venv"
        "$python" -m venv "$venv" >&2 || refuse "$python could not make $root/$venv"
    fi
    rm -f "$stamp" # an install that is interrupted is begun again from nothing
    count=$(grep -E '^[A-Za-z0-9]' "$lock" | grep -cv "'win32'")
    say "installing $count packages into $venv$first…"
    # Wheels only: nothing is compiled or run while installing. No dependency is looked for: the lock names them all.
    "$venv/bin/python" -m pip install --no-input --disable-pip-version-check --progress-bar off --only-binary :all: \
        --no-deps --require-hashes -r "$lock" >"$log" 2>&1 </dev/null || explain_failure
    {
        printf '%s %s\n' "$root/$venv" "$(version_of "$venv/bin/python")"
        # each lock contains the ones before it
        for name in requirements.lock requirements-codex.lock requirements-dev.lock; do
            printf '%s %s\n' "$name" "$(digest "$name")"
            [[ $name == "$lock" ]] && break
        done
    } >"$stamp.new"
    mv "$stamp.new" "$stamp"
    say "installed in $((SECONDS - started)) s"
}

# Two makes at once: the second waits for the first, then finds nothing to do.
if command -v flock >/dev/null; then
    exec 9<"$root/scripts/venv.sh"
    flock 9
fi
if ! { is_sound && is_wanted && holds "$lock"; }; then
    install
fi
