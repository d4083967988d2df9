#!/usr/bin/env bash
# Makes the tree importable: links the module and the executable of a build directory into python/rushes, and tells .venv
# where that is. Usage: tools/link_build.sh [build/release]
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build/release}
python=.venv/bin/python
build=$(realpath --relative-to=. "$build")

shopt -s nullglob
modules=("$build"/python/_core*.so)
rm -f python/rushes/_core*.so
mkdir -p python/rushes/bin
for module in "${modules[@]}"; do
  ln -sf "../../$module" "python/rushes/$(basename "$module")"
done
if [ -e "$build/bin/rushes" ]; then
  ln -sf "../../../$build/bin/rushes" python/rushes/bin/rushes
fi
site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
echo "$PWD/python" >"$site/rushes-tree.pth"
