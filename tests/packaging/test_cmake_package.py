"""The installed CMake package serves another project: find_package, compile, run."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

PROJECT = """
cmake_minimum_required(VERSION 3.25)
project(consumer CXX)
find_package(rushes 0.1 REQUIRED)
add_executable(consumer main.cc)
target_link_libraries(consumer PRIVATE rushes::rushes)
"""

PROGRAM = r"""
#include <iostream>

#include <arrow/compute/initialize.h>
#include <arrow/table.h>

#include "rushes/api/server.h"
#include "rushes/query/query.h"

arrow::Status Run(const std::string& recordings) {
  ARROW_RETURN_NOT_OK(arrow::compute::Initialize());
  rushes::ServerOptions options;
  options.datasets["d"] = {recordings};
  ARROW_ASSIGN_OR_RAISE(auto server, rushes::Server::Start(options));
  ARROW_ASSIGN_OR_RAISE(auto connection, rushes::Connect(server->url()));
  ARROW_ASSIGN_OR_RAISE(auto entries, connection->FindEntries({}));
  for (const auto& entry : entries) {
    if (entry.name != "d") continue;
    ARROW_ASSIGN_OR_RAISE(auto source, connection->OpenDataset(entry.id));
    rushes::Query query;
    query.index = "log_time";
    ARROW_ASSIGN_OR_RAISE(auto prepared, rushes::PreparedQuery::Make(source, query));
    ARROW_ASSIGN_OR_RAISE(auto reader, prepared->Scan());
    ARROW_ASSIGN_OR_RAISE(auto table, reader->ToTable());
    std::cout << "rows " << table->num_rows() << " columns " << table->num_columns() << std::endl;
  }
  server->Shutdown();
  return arrow::Status::OK();
}

int main(int argc, char** argv) {
  arrow::Status status = Run(argv[1]);
  if (!status.ok()) std::cerr << status.ToString() << std::endl;
  return status.ok() ? 0 : 1;
}
"""


def test_another_project_can_use_it(tmp_path: Path) -> None:
    prefix, source, build = tmp_path / "prefix", tmp_path / "consumer", tmp_path / "build"
    source.mkdir()
    (source / "CMakeLists.txt").write_text(PROJECT)
    (source / "main.cc").write_text(PROGRAM)

    def run(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    cmake = shutil.which("cmake")
    assert cmake
    run(
        cmake,
        "--install",
        str(ROOT / "build/release"),
        "--component",
        "development",
        "--prefix",
        str(prefix),
    )
    # Nothing of the tree may be needed: neither a header nor a library.
    for file in prefix.rglob("*.cmake"):
        assert str(ROOT) not in file.read_text(), file
    run(
        cmake,
        *("-S", str(source), "-B", str(build), "-G", "Ninja", "-DCMAKE_BUILD_TYPE=RelWithDebInfo"),
        *(f"-DCMAKE_PREFIX_PATH={prefix}", f"-DPython_EXECUTABLE={sys.executable}"),
    )
    run(cmake, "--build", str(build))
    rows, columns = run(str(build / "consumer"), str(ROOT / "recordings" / "howto")).split()[1::2]
    assert int(rows) > 0
    assert int(columns) > 3
