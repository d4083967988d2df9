#!/usr/bin/env bash
# Lets clang check the thread annotations of src/ (rushes/chunk/mutex.h): which lock guards which member.
# Files that include generated gRPC code are left out while build/release/gen does not exist.
set -euo pipefail
cd "$(dirname "$0")/.."
arrow=$(.venv/bin/python -c 'import pyarrow; print(pyarrow.get_include())')
mapfile -t files < <(grep -lE 'RUSHES_(GUARDED_BY|REQUIRES|EXCLUDES)|MutexLock' -r src --include='*.cc' --include='*.h' |
  sed 's/\.h$/.cc/' | sort -u)
[ ${#files[@]} -gt 0 ] || exit 0
existing=()
for file in "${files[@]}"; do
  [ -e "$file" ] && existing+=("$file")
done
printf '%s\n' "${existing[@]}" | xargs -P "$(nproc)" -n 1 clang++ -std=c++20 -fsyntax-only -Wthread-safety -Werror=thread-safety \
  -Isrc -isystem "$arrow" -isystem build/release/gen -DFMT_HEADER_ONLY=1
