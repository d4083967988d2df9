// The executable `rushes`.

#include <cstdio>
#include <exception>

#include "CLI/CLI.hpp"
#include "arrow/compute/initialize.h"
#include "rushes/cli/commands.h"

int main(int argc, char** argv) {
  if (const auto status = arrow::compute::Initialize(); !status.ok()) {
    std::fprintf(stderr, "rushes: %s\n", status.ToString().c_str());
    return 1;
  }
  CLI::App app("Catalog server and query engine for robot recordings", "rushes");
  app.set_version_flag("-V,--version", "rushes " RUSHES_VERSION);
  app.require_subcommand(1);
  rushes::cli::AddServe(&app);
  rushes::cli::AddConnect(&app);
  rushes::cli::AddList(&app);
  rushes::cli::AddSchema(&app);
  rushes::cli::AddQuery(&app);
  rushes::cli::AddDemo(&app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  } catch (const rushes::cli::CommandError& error) {
    std::fprintf(stderr, "rushes: %s\n", error.what());
    return 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rushes: unexpected error: %s\n", error.what());
    return 1;
  }
  return 0;
}
