#include <filesystem>

#include "CLI/CLI.hpp"
#include "rushes/cli/commands.h"
#include "spdlog/fmt/fmt.h"

namespace rushes::cli {
namespace {

namespace fs = std::filesystem;

// The demo recordings: beside the package the executable is part of, or in the source tree it was built in.
fs::path FindDemo() {
  std::error_code error;
  const fs::path here = fs::read_symlink("/proc/self/exe", error).parent_path();
  if (error) throw CommandError("cannot tell where this program is: " + error.message());
  const fs::path places[] = {here / ".." / "demo", here / ".." / "share" / "rushes" / "demo",
                             here / ".." / ".." / ".." / "recordings" / "demo"};
  for (const fs::path& place : places) {
    if (fs::is_directory(place, error)) return place;
  }
  throw CommandError("the demo recordings are not installed; looked beside " + here.string());
}

void WriteDemo(const std::string& directory) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) throw CommandError("cannot make the directory " + directory + ": " + error.message());
  for (const auto& file : fs::directory_iterator(FindDemo())) {
    if (file.path().extension() != ".rrd") continue;
    const fs::path to = fs::path(directory) / file.path().filename();
    fs::copy_file(file.path(), to, fs::copy_options::overwrite_existing, error);
    if (error) throw CommandError("cannot write " + to.string() + ": " + error.message());
    fmt::print("{}\n", to.string());
  }
  fmt::print("Look at them with: rushes serve {}\n", directory);
}

}  // namespace

void AddDemo(CLI::App* app) {
  auto directory = std::make_shared<std::string>();
  CLI::App* command = app->add_subcommand("demo", "Write the demo recordings: episodes of a small robot");
  command->add_option("directory", *directory, "Where to; made if it is not there")->required();
  command->callback([directory] { WriteDemo(*directory); });
}

}  // namespace rushes::cli
