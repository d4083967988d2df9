#!/usr/bin/env bash
# Lets clang check the thread annotations of src/ (rushes/chunk/mutex.h): which lock guards which member.
# Usage: tools/check_locks.sh [build/release], a configured build whose generated headers exist.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build/release}

# Files that annotate, and those that include an annotated header of their own name.
mapfile -t files < <(grep -rlE 'RUSHES_GUARDED_BY|MutexLock' src/rushes --include='*.cc' --include='*.h' | sed 's/\.h$/.cc/' | sort -u)
existing=()
for file in "${files[@]}"; do
  if [ -e "$file" ]; then existing+=("$file"); fi
done
[ ${#existing[@]} -gt 0 ] || exit 0
printf '%s\n' "${existing[@]}" |
  xargs -P "$(nproc)" -n 1 clang-tidy -p "$build" --quiet --checks='-*,clang-diagnostic-thread-safety*,bugprone-unused-raii' \
    --warnings-as-errors='*' --extra-arg=-Wthread-safety --extra-arg=-Wno-unknown-warning-option 2>&1 |
  { grep -vE 'warnings? generated|^Suppressed|^Use -header-filter' || true; }
echo "locks: ${#existing[@]} files checked"
