# shellcheck shell=sh
# What every script does before its own work: find the repository and Python, install what a lock file names into .venv (once, and again
# only after that file changed) and the extras that `--with` names, then run one command of claude_relay.cli. Sourced; plain POSIX sh.
# All it says goes to stderr, because the output of some commands is meant for `eval`.

self=$(readlink -f "$0" 2>/dev/null || echo "$0")
root=$(CDPATH='' cd -- "$(dirname -- "$self")/.." && pwd -P) || exit 1

# start COMMAND LOCK [--with EXTRA,…] [ARGUMENT…]: does not return.
start() {
    command=$1 lock=$2
    shift 2
    unset extras
    case ${1-} in
        --with=*) extras=${1#--with=} ;;
        --with)
            extras=${2-}
            [ $# -eq 1 ] || shift
            ;;
    esac
    [ -z "${extras+given}" ] || shift
    case ${1-} in
        -h | --help | --version) ready || explain_without_installing "$@" ;;
    esac
    if [ -n "${extras+given}" ] || ! ready; then
        base=$(find_python) || exit 1
        "$base" "$root/scripts/lib/install.py" "$root" "$lock" ${extras+"$extras"} || exit
        ready || true  # finds .venv's Python
    fi
    exec "$python" "$root/scripts/lib/run.py" "$command" "$@"
}

# Nothing is installed for somebody who only asks: the help comes from what is there, else from the first lines of the script.
explain_without_installing() {
    if [ -x "$python" ] && "$python" -c 'import click' 2>/dev/null; then
        exec "$python" "$root/scripts/lib/run.py" "$command" "$@"
    fi
    sed -n '2s/^# //p' "$self"
    echo "Its options are listed when its packages are installed; the first start without $1 does that, in $root/.venv."
    exit 0
}

# Is everything installed that the lock file names, and the extras that .venv has? The copies of lock files in it are written last of all.
ready() {
    python=$root/.venv/bin/python
    [ -x "$python" ] || [ ! -x "$root/.venv/Scripts/python.exe" ] || python=$root/.venv/Scripts/python.exe
    [ -x "$python" ] && cmp -s "$root/$lock" "$root/.venv/$lock" || return 1
    for extra in "$root"/requirements-with-*.lock; do
        copy=$root/.venv/${extra##*/}
        [ ! -e "$copy" ] || cmp -s "$extra" "$copy" || return 1
    done
}

# Print the path of a CPython 3.12 or newer that can make a virtual environment; else explain and fail. A name on PATH proves nothing (pyenv
# leaves shims for versions that are switched off), so each candidate is asked.
find_python() {
    old=
    if [ -n "${RELAY_PYTHON:-}" ]; then
        ! suits "$RELAY_PYTHON" || return 0
        echo "RELAY_PYTHON=$RELAY_PYTHON is no Python 3.12 with all its parts; looking for another ..." >&2
    fi
    for name in python3.14 python3.13 python3.12 python3 python; do
        ! suits "$name" || return 0
    done
    for version in 3.14 3.13 3.12; do
        for candidate in "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version"*/bin/python3 \
            "${UV_PYTHON_INSTALL_DIR:-${XDG_DATA_HOME:-$HOME/.local/share}/uv/python}/cpython-$version"*/bin/python3 \
            "$HOME/.local/share/mise/installs/python/$version"*/bin/python3 \
            "$HOME/.asdf/installs/python/$version"*/bin/python3 \
            "/opt/homebrew/bin/python$version" "/usr/local/bin/python$version" "/usr/bin/python$version" \
            "/Library/Frameworks/Python.framework/Versions/$version/bin/python3" \
            "$HOME/miniconda3/bin/python" "$HOME/anaconda3/bin/python"; do
            ! suits "$candidate" || return 0
        done
    done
    explain >&2
    return 1
}

# Print the path of this Python and succeed, if it can do what is needed. One that is merely new enough is remembered for `explain`.
suits() {
    found=$(command -v "$1" 2>/dev/null) || return 1
    if "$found" -c "$can_do" >/dev/null 2>&1; then
        echo "$found"
        return 0
    fi
    [ -n "$old" ] || ! "$found" -c "$new_enough" >/dev/null 2>&1 || old=$found
    return 1
}

new_enough='import sys; sys.exit(sys.version_info < (3, 12))'
can_do='
import sys
sys.path = [folder for folder in sys.path if folder]  # nothing of the working directory runs
import ctypes, ensurepip, sqlite3, ssl, sysconfig, venv, zlib
standard = sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED")
sys.exit(not (standard and sys.version_info >= (3, 12)))'

explain() {
    if [ -n "$old" ]; then
        echo "$old is new enough, but lacks a part that Claude Relay needs (venv, ssl, sqlite3, …):"
        "$old" -c "$can_do" 2>&1 | tail -n 1
        echo "On Debian and Ubuntu: sudo apt install python3-venv"
        return
    fi
    echo "Claude Relay needs Python 3.12 or newer, and none was found. To get it:"
    case $(uname -s) in
        Darwin) echo "  brew install python@3.13        (or the installer from https://www.python.org/downloads/)" ;;
        Linux)
            echo "  Debian 13, Ubuntu 24.04 and newer:  sudo apt install python3 python3-venv"
            echo "  Fedora:                             sudo dnf install python3.13"
            echo "  Arch:                               sudo pacman -S python"
            ;;
        *) echo "  the installer from https://www.python.org/downloads/" ;;
    esac
    echo "  anywhere, with uv:                  uv python install 3.13"
    echo "  anywhere, with pyenv:               pyenv install 3.13"
    echo "Then run this again. RELAY_PYTHON=/path/to/python names one that is not found by itself."
}
