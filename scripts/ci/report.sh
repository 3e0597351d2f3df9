#!/bin/sh
# Tells DeksdenFlow how a CI job ended:  report.sh success|failure
#
# From the environment:
#   DEKSDENFLOW_API_BASE         https://flow.example.org, or the whole URL of a hook; unset, nothing is reported
#   DEKSDENFLOW_WEBHOOK_TOKEN    the secret of the webhooks, or of that hook
#   DEKSDENFLOW_CI_PROVIDER      github, gitlab or ci: in which form to report; default: where this runs
#   DEKSDENFLOW_PROTOCOL_RUN_ID  the protocol run, if it is known
#   DEKSDENFLOW_BRANCH, DEKSDENFLOW_TARGET_URL   instead of what is found out
# DEKSDENFLOW_API_TOKEN is accepted and not used. A CI job never fails by this: whatever goes wrong is one line on
# stderr, and the exit code is 0. Needs curl, and openssl, sha256sum or shasum. No secret is ever an argument.

say() {
    printf 'deksdenflow report: %s\n' "$1" | tr -d '\000-\010\013-\037\177' >&2
}

give_up() {
    say "$1"
    exit 0
}

# --- what happened, and where -----------------------------------------------------------------------------------------

read_event() { # $1: a key below pull_request.head of the event that GitHub Actions runs for
    [ -r "${GITHUB_EVENT_PATH:-}" ] || return 0
    if command -v jq >/dev/null 2>&1; then
        jq -r ".pull_request.head.$1 // empty" "$GITHUB_EVENT_PATH" 2>/dev/null
    elif command -v python3 >/dev/null 2>&1; then
        python3 -c 'import json, sys
print((((json.load(open(sys.argv[1])).get("pull_request") or {}).get("head")) or {}).get(sys.argv[2]) or "")' \
            "$GITHUB_EVENT_PATH" "$1" 2>/dev/null
    fi
}

is_commit() {
    case $1 in
    *[!0-9a-f]* | '') return 1 ;;
    esac
    [ ${#1} -eq 40 ] || [ ${#1} -eq 64 ]
}

find_branch() {
    for branch in "${DEKSDENFLOW_BRANCH:-}" "${CI_COMMIT_REF_NAME:-}" "${GITHUB_HEAD_REF:-}" "${GITHUB_REF_NAME:-}"; do
        [ -z "$branch" ] || return 0
    done
    branch=$(git rev-parse --abbrev-ref HEAD 2>/dev/null)
    [ "$branch" != HEAD ] || branch=''
}

find_commit() {
    if [ -n "${GITHUB_HEAD_REF:-}" ]; then # GITHUB_SHA is a merge then, which nobody has pushed
        set -- "$(read_event sha)" "$(git rev-parse --verify --quiet 'HEAD^2' 2>/dev/null)"
    else
        set -- "${CI_MERGE_REQUEST_SOURCE_BRANCH_SHA:-}" "${CI_COMMIT_SHA:-}" "${GITHUB_SHA:-}" \
            "$(git rev-parse HEAD 2>/dev/null)"
    fi
    for commit in "$@"; do
        ! is_commit "$commit" || return 0
    done
    commit=''
}

find_link() {
    link=${DEKSDENFLOW_TARGET_URL:-${CI_PIPELINE_URL:-}}
    if [ -z "$link" ] && [ -n "${GITHUB_RUN_ID:-}" ]; then
        link="${GITHUB_SERVER_URL:-https://github.com}/${GITHUB_REPOSITORY:-}/actions/runs/$GITHUB_RUN_ID"
    fi
}

find_repository() { # its address, without whoever may log in there, unless a hook or a protocol run says whose it is
    repository=''
    case ${DEKSDENFLOW_PROTOCOL_RUN_ID:-}$base in
    [0-9]* | */webhooks/*) return 0 ;;
    esac
    repository=${CI_PROJECT_URL:-}
    if [ -z "$repository" ] && [ -n "${GITHUB_REPOSITORY:-}" ]; then
        repository="${GITHUB_SERVER_URL:-https://github.com}/$GITHUB_REPOSITORY"
    fi
    [ -n "$repository" ] || repository=$(git config --get remote.origin.url 2>/dev/null)
    repository=$(printf '%s' "$repository" | sed -n -e 's#^\([a-z+]*://\)[^/@]*@#\1#' -e '/:\/\//p')
}

find_provider() {
    provider=${DEKSDENFLOW_CI_PROVIDER:-}
    case $base in # the URL of a hook says it
    */webhooks/github*) provider=github ;;
    */webhooks/gitlab*) provider=gitlab ;;
    */webhooks/ci*) provider=ci ;;
    esac
    if [ -z "$provider" ]; then
        provider=ci
        [ -z "${GITHUB_ACTIONS:-}" ] || provider=github
        [ -z "${GITLAB_CI:-}" ] || provider=gitlab
    fi
}

# --- JSON -------------------------------------------------------------------------------------------------------------

quoted() { # $1 as a JSON string; control characters become spaces, and what is no UTF-8 goes
    text=$(printf '%s' "$1" | LC_ALL=C tr '\001-\037\177' ' ' | LC_ALL=C sed -e 's/\\/\\\\/g' -e 's/"/\\"/g')
    if ! printf '%s' "$text" | iconv -f UTF-8 -t UTF-8 >/dev/null 2>&1; then
        text=$(printf '%s' "$text" | LC_ALL=C tr -d '\200-\377')
    fi
    printf '"%s"' "$text"
}

number() { # $1 if it is a plain number, else $2
    case $1 in
    '' | *[!0-9]* | 0?*) printf '%s' "$2" ;;
    *) printf '%s' "$1" ;;
    esac
}

told() { # ,"$1":"$2" unless $2 is empty
    [ -z "$2" ] || printf ',"%s":%s' "$1" "$(quoted "$2")"
}

counted() { # ,"$1":$2 if $2 is a plain number
    [ -z "$(number "$2" '')" ] || printf ',"%s":%s' "$1" "$2"
}

compose() {
    job=${GITHUB_JOB:-${CI_JOB_NAME:-report}}
    attempt=$(number "${GITHUB_RUN_ATTEMPT:-}" 1)
    now=$(date -u +%Y-%m-%dT%H:%M:%SZ)
    case $provider in
    github)
        printf '{"state":"%s","context":%s,"run_attempt":%s' "$state" "$(quoted "deksdenflow/$job")" "$attempt"
        told sha "$commit"
        told branch "$branch"
        told ref "$branch"
        told target_url "$link"
        told updated_at "$now"
        counted id "${GITHUB_RUN_ID:-}"
        [ -z "$branch" ] || printf ',"branches":[{"name":%s}]' "$(quoted "$branch")"
        if [ -n "${GITHUB_REPOSITORY:-}" ]; then
            printf ',"repository":{"full_name":%s' "$(quoted "$GITHUB_REPOSITORY")"
            counted id "${GITHUB_REPOSITORY_ID:-}"
            printf '}'
        fi
        counted protocol_run_id "${DEKSDENFLOW_PROTOCOL_RUN_ID:-}"
        printf '}'
        ;;
    gitlab)
        [ "$state" = success ] || state=failed
        printf '{"object_kind":"pipeline","object_attributes":{"status":"%s","tag":false' "$state"
        counted id "${CI_PIPELINE_ID:-}"
        told ref "$branch"
        told sha "$commit"
        told name "$job" # a job speaks for itself, not for its pipeline
        told url "$link"
        told finished_at "$now"
        printf '}'
        if [ -n "${CI_PROJECT_PATH:-}" ]; then
            printf ',"project":{"path_with_namespace":%s' "$(quoted "$CI_PROJECT_PATH")"
            counted id "${CI_PROJECT_ID:-}"
            told web_url "${CI_PROJECT_URL:-}"
            printf '}'
        fi
        printf '}'
        ;;
    *)
        printf '{"state":"%s","context":%s,"run_attempt":%s' "$state" "$(quoted "${CI_JOB_NAME:-${GITHUB_JOB:-ci}}")" \
            "$attempt"
        told sha "$commit"
        told branch "$branch"
        told target_url "$link"
        told repository "$repository"
        told at "$now"
        counted run_id "${GITHUB_RUN_ID:-${CI_PIPELINE_ID:-}}"
        counted protocol_run_id "${DEKSDENFLOW_PROTOCOL_RUN_ID:-}"
        printf '}'
        ;;
    esac
}

# --- the proof: HMAC-SHA256, by hand, since openssl takes the key as an argument, which every process may read ---------

sha256() { # of stdin, in hex
    if command -v openssl >/dev/null 2>&1; then
        openssl dgst -sha256 -r
    elif command -v sha256sum >/dev/null 2>&1; then
        sha256sum
    else
        shasum -a 256
    fi | cut -d ' ' -f 1
}

# shellcheck disable=SC2059  # the format is the octal escape of one byte
padded() { # the bytes $1 (decimal), filled up to 64, each XOR $2
    count=0
    for byte in $1; do
        printf "\\$(printf '%03o' $((byte ^ $2)))"
        count=$((count + 1))
    done
    while [ $count -lt 64 ]; do
        printf "\\$(printf '%03o' "$2")"
        count=$((count + 1))
    done
}

bytes_of_hex() { # $1 in decimal, with spaces
    rest=$1
    while [ -n "$rest" ]; do
        pair=${rest%"${rest#??}"}
        rest=${rest#??}
        printf '%d ' "0x$pair"
    done
}

# shellcheck disable=SC2059  # likewise
raw() { # $1, bytes in decimal, as they are
    for byte in $1; do
        printf "\\$(printf '%03o' "$byte")"
    done
}

hmac() { # of $2 under the key $1, in hex
    key=$(printf '%s' "$1" | od -An -v -tu1 | tr -s ' \n' ' ')
    if [ "$(printf '%s' "$1" | wc -c)" -gt 64 ]; then
        key=$(bytes_of_hex "$(printf '%s' "$1" | sha256)")
    fi
    inner=$({ padded "$key" 54 && printf '%s' "$2"; } | sha256)
    { padded "$key" 92 && raw "$(bytes_of_hex "$inner")"; } | sha256
}

# --- sending ----------------------------------------------------------------------------------------------------------

configured() { # $1 as a value of curl's configuration
    printf '%s' "$1" | tr -d '\r\n' | sed -e 's/\\/\\\\/g' -e 's/"/\\"/g'
}

settings() { # curl's configuration; it goes to its stdin, so that no secret is an argument
    printf 'url = "%s"\n' "$(configured "$url")"
    printf 'data-binary = "@%s"\n' "$(configured "$file")"
    printf 'header = "Content-Type: application/json"\nheader = "User-Agent: deksdenflow-report"\nheader = "Expect:"\n'
    case $provider in
    github)
        printf 'header = "X-GitHub-Event: status"\nheader = "X-GitHub-Delivery: %s"\n' "$delivery"
        ;;
    gitlab)
        printf 'header = "X-Gitlab-Event: Pipeline Hook"\nheader = "Idempotency-Key: %s"\n' "$delivery"
        ;;
    *)
        printf 'header = "X-Deksdenflow-Delivery: %s"\n' "$delivery"
        ;;
    esac
    if [ "$provider" = gitlab ]; then
        printf 'header = "X-Gitlab-Token: %s"\n' "$(configured "$token")"
    else
        printf 'header = "X-Hub-Signature-256: sha256=%s"\n' "$signature"
    fi
}

send() { # sets $status to what was answered, 000 for nothing
    status=$(settings | curl -q --silent --config - --output "$file.answer" --write-out '%{http_code}' \
        --connect-timeout 10 --max-time 30 2>/dev/null)
    status=${status:-000}
}

main() {
    case ${1:-} in
    success | failure) state=$1 ;;
    *) give_up 'usage: report.sh success|failure' ;;
    esac
    base=${DEKSDENFLOW_API_BASE:-}
    token=${DEKSDENFLOW_WEBHOOK_TOKEN:-}
    [ -n "$base" ] || give_up 'skipped: DEKSDENFLOW_API_BASE is not set.'
    [ -n "$token" ] || give_up 'skipped: DEKSDENFLOW_WEBHOOK_TOKEN is not set.'
    case $base in
    http://?* | https://?*) ;;
    *) give_up 'skipped: DEKSDENFLOW_API_BASE must start with https:// or http://.' ;;
    esac
    command -v curl >/dev/null 2>&1 || give_up 'not reported: curl is missing.'
    find_provider
    case $provider in
    github | gitlab | ci) ;;
    *) give_up 'not reported: DEKSDENFLOW_CI_PROVIDER must be github, gitlab or ci.' ;;
    esac
    if [ "$provider" != gitlab ]; then
        command -v openssl >/dev/null 2>&1 || command -v sha256sum >/dev/null 2>&1 || command -v shasum >/dev/null 2>&1 ||
            give_up 'not reported: openssl, sha256sum or shasum is needed to sign.'
    fi
    find_branch
    find_commit
    find_link
    find_repository
    [ -n "$commit" ] || give_up 'not reported: the commit is not known (no CI variable has it, and this is no repository).'

    case $base in
    */webhooks/*) url=$base ;;
    *) url="${base%/}/webhooks/$provider" ;;
    esac
    run=${DEKSDENFLOW_PROTOCOL_RUN_ID:-}
    if [ -n "$run" ]; then
        [ -n "$(number "$run" '')" ] || give_up 'not reported: DEKSDENFLOW_PROTOCOL_RUN_ID must be a number.'
        case $url in
        *\?*) url="$url&protocol_run_id=$run" ;;
        *) url="$url?protocol_run_id=$run" ;;
        esac
    fi
    umask 077
    file=$(mktemp "${TMPDIR:-/tmp}/report.XXXXXXXX") || give_up 'not reported: no temporary file can be made.'
    trap 'rm -f "$file" "$file.answer"' EXIT
    body=$(compose)
    printf '%s' "$body" >"$file"
    signature=''
    [ "$provider" = gitlab ] || signature=$(hmac "$token" "$body")
    delivery="report-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')"

    for pause in 2 5 10 0; do
        send
        case $status in
        2??)
            say "$state of $commit reported ($status)."
            exit 0
            ;;
        000 | 429 | 5??) [ "$pause" -eq 0 ] || sleep "$pause" ;;
        *) break ;;
        esac
    done
    why=$(head -c 600 "$file.answer" 2>/dev/null | tr '\n' ' ')
    [ "$status" != 000 ] || why='nobody answers'
    give_up "not reported: $status $why"
}

main "$@"
