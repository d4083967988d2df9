// `rushes query` is part of the Python package: DataFusion parses its expressions, pyarrow writes Parquet, which executables do not link.
// Here the interpreter that has the package is found and takes over.

#include <unistd.h>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "CLI/CLI.hpp"
#include "rushes/cli/commands.h"

namespace rushes::cli {
namespace {

namespace fs = std::filesystem;

// The directory of the script, here the current one, is no place to import from.
constexpr char kProgram[] = R"(import sys
if sys.path and sys.path[0] == "":
    del sys.path[0]
try:
    from rushes._command.query import main
except ImportError as error:
    sys.exit(f"rushes: query is part of the Python package, which {sys.executable} cannot load: {error}\n"
             f"Run: {sys.executable} -m pip install rushes")
main(sys.argv[1:])
)";

// The interpreter of the environment that this executable is installed in, or of the source tree it was built in; else the one on the PATH.
std::string FindPython() {
  std::error_code error;
  const fs::path here = fs::read_symlink("/proc/self/exe", error).parent_path();
  if (!error && fs::exists(here / "../__main__.py", error)) {
    // lib/python3.x/site-packages/rushes/bin
    const fs::path python = (here / "../../../../../bin/python3").lexically_normal();
    if (access(python.c_str(), X_OK) == 0) return python;
  }
  if (!error && fs::exists(here / "../../../python/rushes/__main__.py", error)) {
    // build/release/bin
    const fs::path python = (here / "../../../.venv/bin/python3").lexically_normal();
    if (access(python.c_str(), X_OK) == 0) return python;
  }
  return "python3";
}

void RunInPython(const std::vector<std::string>& arguments) {
  const std::string python = FindPython();
  std::vector<std::string> words = {python, "-c", kProgram};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  execvp(pointers[0], pointers.data());
  throw CommandError("query needs Python 3.11 or later with the package rushes; cannot run " + python + ": " + std::strerror(errno));
}

}  // namespace

void AddQuery(CLI::App* app) {
  CLI::App* command = app->add_subcommand("query", "Get rows out: of recordings or a dataset, as a table, CSV, JSON, Parquet or Arrow");
  // Options are those of the Python side, --help among them.
  command->set_help_flag();
  command->prefix_command();
  command->callback([command] { RunInPython(command->remaining()); });
}

}  // namespace rushes::cli
