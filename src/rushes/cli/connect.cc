#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "CLI/CLI.hpp"
#include "rushes/cli/catalog_target.h"
#include "rushes/cli/commands.h"
#include "spdlog/fmt/fmt.h"

extern char** environ;

namespace rushes::cli {
namespace {

struct ConnectArguments {
  std::string address;
  std::string token;
  bool no_viewer = false;
};

bool HasDisplay() { return std::getenv("DISPLAY") != nullptr || std::getenv("WAYLAND_DISPLAY") != nullptr; }

// True if an executable `name` is on the PATH.
bool OnPath(const std::string& name) {
  const char* path = std::getenv("PATH");
  if (path == nullptr) return false;
  std::string_view rest = path;
  while (true) {
    const size_t colon = rest.find(':');
    const std::string_view directory = rest.substr(0, colon);
    if (!directory.empty() && access((std::string(directory) + "/" + name).c_str(), X_OK) == 0) return true;
    if (colon == std::string_view::npos) return false;
    rest.remove_prefix(colon + 1);
  }
}

// Runs the viewer until it is closed.
void OpenViewer(const std::string& url) {
  std::fflush(stdout);
  std::string program = "rerun", argument = url;
  char* arguments[] = {program.data(), argument.data(), nullptr};
  pid_t child = 0;
  if (const int error = posix_spawnp(&child, "rerun", nullptr, nullptr, arguments, environ); error != 0) {
    fmt::print(stderr, "The viewer could not be started: {}\n", std::strerror(error));
    return;
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (status != 0) fmt::print(stderr, "The viewer ended with an error; the catalog is still there.\n");
}

void ShowAndView(const ConnectArguments& arguments) {
  const CatalogTarget target = Check(OpenTarget(arguments.address, arguments.token));
  const std::string url = target.connection->url();
  fmt::print("{}\n", url);
  Check(PrintEntries(target.connection.get()));
  if (arguments.no_viewer) return;
  if (!OnPath("rerun")) {
    fmt::print("To look at it, install the viewer (pip install rerun-sdk) and run: rerun {}\n", url);
  } else if (!HasDisplay()) {
    fmt::print("There is no display here. Where there is one, run: rerun {}\n", url);
  } else {
    OpenViewer(url);
  }
}

}  // namespace

void AddConnect(CLI::App* app) {
  auto arguments = std::make_shared<ConnectArguments>();
  CLI::App* command = app->add_subcommand("connect", "Show what a catalog holds and open the Rerun viewer on it, if it is installed");
  command->add_option("address", arguments->address, "rerun+http://HOST:PORT or HOST:PORT; a local address without a port means 51234")
      ->default_val("localhost:51234");
  command->add_option("--token", arguments->token, "Token to send")->envname("REDAP_TOKEN");
  command->add_flag("--no-viewer", arguments->no_viewer, "Only list");
  command->callback([arguments] { ShowAndView(*arguments); });
}

}  // namespace rushes::cli
