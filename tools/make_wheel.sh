#!/usr/bin/env bash
# Builds dist/rushes-*.whl: Debian's libraries inside, Arrow's from the user's pyarrow. Prints its path last.
# The build happens in .venv with the flags of build/release, so that ccache has most of it already.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
# The names CMake picks by itself; scikit-build-core would pick others, and the compiler cache tells them apart.
export CC=${CC:-cc} CXX=${CXX:-c++}

raw=build/wheel-raw
rm -rf "$raw"
python -m pip wheel --quiet --disable-pip-version-check --no-build-isolation --no-deps --wheel-dir "$raw" .

mkdir -p dist
rm -f dist/rushes-*.whl
exclude=()
for library in arrow arrow_compute arrow_acero arrow_dataset parquet; do
  exclude+=(--exclude "lib$library.so.2600")
done
auditwheel repair "${exclude[@]}" --wheel-dir dist "$raw"/rushes-*.whl >build/auditwheel.log 2>&1 || {
  cat build/auditwheel.log >&2
  exit 1
}
ls dist/rushes-*.whl
