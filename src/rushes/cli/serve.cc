#include <csignal>
#include <cstdio>
#include <filesystem>
#include <string>
#include <utility>

#include "CLI/CLI.hpp"
#include "rushes/api/server.h"
#include "rushes/cli/catalog_target.h"
#include "rushes/cli/commands.h"
#include "spdlog/fmt/fmt.h"

namespace rushes::cli {
namespace {

struct ServeArguments {
  std::vector<std::string> paths;
  std::vector<std::string> datasets;  // [NAME=]DIRECTORY
  std::vector<std::string> tables;    // [NAME=]DIRECTORY
  std::string table_directory;
  uint64_t max_table_batch_bytes = uint64_t{512} << 20;
  uint64_t max_table_upsert_bytes = uint64_t{512} << 20;
  std::string host = "127.0.0.1";
  int port = 51234;
  uint64_t cache_bytes = uint64_t{1} << 30;
  uint64_t live_history_bytes = uint64_t{1} << 30;
  std::vector<std::string> cors_allow_origins;
  int latency_ms = 0;
  uint64_t bandwidth_limit_bytes = 0;
  std::string staging_directory;
  uint64_t max_upload_bytes = uint64_t{64} << 30;
  uint64_t max_staging_bytes = uint64_t{1} << 40;
};

// Name and directory of the `[NAME=]DIRECTORY` of an option.
std::pair<std::string, std::string> NamedDirectory(const char* option, const std::string& argument) {
  std::string name, directory = argument;
  if (const size_t equals = argument.find('='); equals != std::string::npos && !std::filesystem::exists(argument)) {
    name = argument.substr(0, equals);
    directory = argument.substr(equals + 1);
    if (name.empty()) throw CommandError(std::string(option) + " " + argument + ": the name is empty");
  }
  std::error_code error;
  if (!std::filesystem::exists(directory, error)) throw CommandError("no such directory: " + directory);
  if (!std::filesystem::is_directory(directory, error)) throw CommandError("expected a directory, got a file: " + directory);
  if (name.empty()) name = std::filesystem::canonical(directory, error).filename().string();
  return {name, directory};
}

void Serve(const ServeArguments& arguments) {
  ServerOptions options;
  options.host = arguments.host;
  options.port = arguments.port;
  options.chunk_cache_bytes = static_cast<int64_t>(arguments.cache_bytes);
  options.live_history_bytes = static_cast<int64_t>(arguments.live_history_bytes);
  options.cors_allow_origins = arguments.cors_allow_origins;
  options.latency_ms = arguments.latency_ms;
  options.bandwidth_limit_bytes = static_cast<int64_t>(arguments.bandwidth_limit_bytes);
  options.staging_directory = arguments.staging_directory;
  options.max_upload_bytes = static_cast<int64_t>(arguments.max_upload_bytes);
  options.max_staging_bytes = static_cast<int64_t>(arguments.max_staging_bytes);
  options.datasets = Check(DatasetsOfPaths(arguments.paths));
  for (const std::string& dataset : arguments.datasets) {
    const auto [name, directory] = NamedDirectory("--dataset", dataset);
    if (!options.datasets.emplace(name, std::vector<std::string>{directory}).second) {
      throw CommandError("the dataset \"" + name + "\" is given twice");
    }
  }
  for (const std::string& table : arguments.tables) {
    const auto [name, directory] = NamedDirectory("--table", table);
    if (!options.tables.emplace(name, directory).second) throw CommandError("the table \"" + name + "\" is given twice");
  }
  if (!arguments.table_directory.empty()) options.table_directory = std::filesystem::absolute(arguments.table_directory).string();
  options.max_table_batch_bytes = static_cast<int64_t>(arguments.max_table_batch_bytes);
  options.max_table_upsert_bytes = static_cast<int64_t>(arguments.max_table_upsert_bytes);

  // Blocked before any thread starts, so that the signals wait for sigwait below.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  const auto server = Check(Server::Start(options));
  const auto connection = Check(server->Connect());
  Check(PrintEntries(connection.get()));
  const std::string url = server->url();
  fmt::print("\nServing at {}\n", url);
  fmt::print("  Python   import rushes as rr; client = rr.catalog.CatalogClient(\"{}\")\n", url);
  fmt::print("  list     rushes connect {}:{}\n", server->host(), server->port());
  fmt::print("  native   rerun {}\n", url);
  fmt::print("  web      rerun --web-viewer {}\n", url);
  if (arguments.live_history_bytes > 0) {
    fmt::print("  live     rr.connect_grpc(\"{}/proxy\") in programs that log, rerun {}/proxy to watch\n", url, url);
  }
  fmt::print("Stop with Ctrl-C.\n");
  std::fflush(stdout);

  int signal = 0;
  sigwait(&signals, &signal);
  fmt::print("\nStopping.\n");
  std::fflush(stdout);
  server->Shutdown();
}

}  // namespace

void AddServe(CLI::App* app) {
  auto arguments = std::make_shared<ServeArguments>();
  CLI::App* command = app->add_subcommand("serve", "Serve recordings as a catalog");
  command->add_option("path", arguments->paths,
                      "Recordings and directories of recordings: a directory becomes a dataset of its name, single files the dataset "
                      "\"recordings\"; none gives an empty catalog");
  command->add_option("-d,--dataset", arguments->datasets, "[NAME=]DIRECTORY: a directory as a dataset of this name; repeatable")
      ->allow_extra_args(false);
  command->add_option("-t,--table", arguments->tables, "[NAME=]DIRECTORY: a table that was created there before; repeatable")
      ->allow_extra_args(false);
  command->add_option("--table-dir", arguments->table_directory,
                      "Where tables are kept that clients create without a place of their own; by default a temporary directory, which "
                      "goes with the server");
  command->add_option("--max-table-batch", arguments->max_table_batch_bytes, "Largest batch that is taken for a table, decoded")
      ->transform(CLI::AsSizeValue(false))
      ->default_str("512MiB");
  command->add_option("--max-table-upsert", arguments->max_table_upsert_bytes, "Most bytes of one upsert, which wait in memory")
      ->transform(CLI::AsSizeValue(false))
      ->default_str("512MiB");
  command->add_option("--host", arguments->host, "Address to listen on; 0.0.0.0 for all interfaces")->capture_default_str();
  command->add_option("-p,--port", arguments->port, "Port to listen on; 0 for any free one")
      ->check(CLI::Range(0, 65535))
      ->capture_default_str();
  command->add_option("--cache", arguments->cache_bytes, "Bound of the cache of decoded chunks, such as 512MiB")
      ->transform(CLI::AsSizeValue(false))
      ->default_str("1GiB");
  command
      ->add_option("--live-history", arguments->live_history_bytes,
                   "Bound of what is kept of live messages for viewers that come later, such as 256MiB; at least 1MiB, or 0 for no live "
                   "logging")
      ->transform(CLI::AsSizeValue(false))
      ->default_str("1GiB");
  command
      ->add_option("--cors-allow-origin", arguments->cors_allow_origins,
                   "Origin of web pages that may call, beside localhost, 127.0.0.1 and rerun.io; * stands for any text; repeatable")
      ->allow_extra_args(false);
  command->add_option("--latency-ms", arguments->latency_ms, "Delay each answer, to try out slow connections")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--bandwidth-limit", arguments->bandwidth_limit_bytes, "Bytes per second of answers, such as 10MB")
      ->transform(CLI::AsSizeValue(false));
  command->add_option("--staging", arguments->staging_directory,
                      "Directory for uploads and for files of maintenance; by default a temporary one that goes with the server");
  command->add_option("--max-upload", arguments->max_upload_bytes, "Bound of one upload, such as 10GiB")
      ->transform(CLI::AsSizeValue(false))
      ->default_str("64GiB");
  command->add_option("--max-staging", arguments->max_staging_bytes, "Bound of all files in the staging directory, such as 500GiB")
      ->transform(CLI::AsSizeValue(false))
      ->default_str("1TiB");
  command->callback([arguments] { Serve(*arguments); });
}

}  // namespace rushes::cli
