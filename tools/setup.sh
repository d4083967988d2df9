#!/usr/bin/env bash
# Puts in place what a target of the Makefile needs; a second run finds it there and does nothing.
#
#   tools/setup.sh build   compiler, libraries, .venv with requirements/build.txt
#   tools/setup.sh test    the same with requirements/test.txt and what the official viewer draws with
#   tools/setup.sh lint    the same with clang's tools
#   tools/setup.sh profile what test has, and perf
#
# PYTHON names the interpreter that .venv is made from (default python3, 3.11 or later).
set -euo pipefail
cd "$(dirname "$0")/.."
level=${1:-build}

packages() { sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$@"; }

lists=(tools/apt-packages.txt)
requirements=requirements/build.txt
case $level in
  build) ;;
  test) lists+=(tools/apt-packages-test.txt); requirements=requirements/test.txt ;;
  lint) lists+=(tools/apt-packages-lint.txt); requirements=requirements/test.txt ;;
  profile) lists+=(tools/apt-packages-test.txt tools/apt-packages-profile.txt); requirements=requirements/test.txt ;;
  *) echo "tools/setup.sh: build, test, lint or profile, not '$level'" >&2; exit 2 ;;
esac

if command -v dpkg-query >/dev/null; then
  missing=()
  for package in $(packages "${lists[@]}"); do
    status=$(dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null || true)
    [[ $status == ii* ]] || missing+=("$package")
  done
  if ((${#missing[@]})); then
    echo "Installing Debian packages: ${missing[*]}"
    sudo=()
    ((EUID == 0)) || sudo=(sudo)
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  fi
else
  echo "Not a Debian system: install what ${lists[*]} name by hand." >&2
fi

python=${PYTHON:-python3}
if ! .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "rushes needs Python 3.11 or later, $python is $("$python" --version 2>&1); set PYTHON" >&2
    exit 1
  fi
  rm -rf .venv
  "$python" -m venv .venv
fi

# test.txt contains build.txt, so its stamp serves for both.
stamp() { echo ".venv/.installed-$(basename "$1" .txt)-$(cat requirements/build.txt "$1" | sha256sum | cut -c1-16)"; }
if [[ ! -e $(stamp "$requirements") && ! -e $(stamp requirements/test.txt) ]]; then
  echo "Installing $requirements into .venv"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$requirements"
  touch "$(stamp "$requirements")"
fi
