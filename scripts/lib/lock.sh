#!/bin/sh
# Remake the lock files after a change of pyproject.toml: `scripts/lib/lock.sh`, or `scripts/lib/lock.sh --upgrade` for newer versions of
# everything. Needs uv. The versions of extras are those of one resolution with all of them, so that any can be installed together.
set -eu
cd -- "$(dirname -- "$0")/../.."

# lock FILE HEADING [ARGUMENT…]
lock() {
    file=$1 heading=$2
    shift 2
    uv pip compile --quiet --universal --python-version 3.12 --generate-hashes --no-emit-index-url --no-header \
        pyproject.toml "$@" -o "$file"
    body=$(grep -v '^# ' "$file")
    printf '# %s\n# Made by scripts/lib/lock.sh\n%s\n' "$heading" "$body" >"$file"
}

base=requirements.lock all=requirements-dev.lock
lock $base "What the relay and its panel need, for Python 3.12 to 3.14 on Linux, macOS and Windows." --extra panel "$@"
lock $all "What the tests need: what $base names, all extras, and the group dev." --group dev --all-extras -c $base "$@"
for extra in $(sed -n '/^\[project.optional-dep/,/^$/s/^\([a-z]*\) *= *\[.*/\1/p' pyproject.toml); do
    [ "$extra" != panel ] || continue  # it is in the first
    # shellcheck disable=SC2046  # one option a package
    lock "requirements-with-$extra.lock" "What the extra $extra needs on top of $base." --extra "$extra" -c $all \
        $(sed -n 's/^\([a-z0-9.-]*\)==.*/--no-emit-package \1/p' $base)
done
