#include <cstdio>

#include "CLI/CLI.hpp"
#include "rushes/chunk/dataset_schema.h"
#include "rushes/cli/catalog_target.h"
#include "rushes/cli/commands.h"
#include "spdlog/fmt/fmt.h"

namespace rushes::cli {
namespace {

struct SchemaArguments {
  std::string target;
  std::string dataset;
  std::string token;
};

void PrintSchema(const SchemaArguments& arguments) {
  const CatalogTarget target = Check(OpenTarget(arguments.target, arguments.token));
  Connection* connection = target.connection.get();
  std::string name = arguments.dataset;
  if (name.empty()) {
    // One dataset needs no name.
    EntryFilter filter;
    filter.kind = EntryKind::kDataset;
    const auto datasets = Check(connection->FindEntries(filter));
    if (datasets.size() != 1) {
      std::string names;
      for (const EntryDetails& entry : datasets) names += (names.empty() ? "" : ", ") + entry.name;
      throw CommandError(datasets.empty() ? "there is no dataset" : "name one of the datasets: " + names);
    }
    name = datasets[0].name;
  }
  const EntryDetails dataset = Check(FindDataset(connection, name));
  const auto schema = Check(DatasetSchema::FromArrow(*Check(connection->GetDatasetSchema(dataset.id))));
  for (const Timeline& timeline : schema.timelines()) fmt::print("index   {}  {}\n", timeline.name, ToString(timeline.type));
  for (const ComponentColumn& column : schema.columns()) {
    fmt::print("{}  {}  {}\n", column.is_static ? "static" : "column", column.name(), column.type->ToString());
  }
}

}  // namespace

void AddSchema(CLI::App* app) {
  auto arguments = std::make_shared<SchemaArguments>();
  CLI::App* command = app->add_subcommand("schema", "Print the timelines and columns of a dataset");
  command->add_option("target", arguments->target, "Address of a catalog, or path of a recording or directory")
      ->default_val("localhost:51234");
  command->add_option("dataset", arguments->dataset, "Which dataset; may be left out if there is only one");
  command->add_option("--token", arguments->token, "Token to send")->envname("REDAP_TOKEN");
  command->callback([arguments] { PrintSchema(*arguments); });
}

}  // namespace rushes::cli
