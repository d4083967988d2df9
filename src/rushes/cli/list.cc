#include "CLI/CLI.hpp"
#include "rushes/cli/catalog_target.h"
#include "rushes/cli/commands.h"

namespace rushes::cli {
namespace {

struct ListArguments {
  std::string target;
  std::string dataset;
  std::string token;
};

void List(const ListArguments& arguments) {
  const CatalogTarget target = Check(OpenTarget(arguments.target, arguments.token));
  if (arguments.dataset.empty()) {
    Check(PrintEntries(target.connection.get()));
  } else {
    Check(PrintSegments(target.connection.get(), Check(FindDataset(target.connection.get(), arguments.dataset))));
  }
}

}  // namespace

void AddList(CLI::App* app) {
  auto arguments = std::make_shared<ListArguments>();
  CLI::App* command = app->add_subcommand("ls", "List the datasets of a catalog, or the segments of a dataset");
  command->add_option("target", arguments->target, "Address of a catalog, or path of a recording or directory")
      ->default_val("localhost:51234");
  command->add_option("dataset", arguments->dataset, "List the segments of this dataset");
  command->add_option("--token", arguments->token, "Token to send")->envname("REDAP_TOKEN");
  command->callback([arguments] { List(*arguments); });
}

}  // namespace rushes::cli
