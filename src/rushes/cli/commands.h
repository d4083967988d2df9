// The subcommands of the executable `rushes`. Each adds itself to the parser; its callback returns normally when it worked and throws
// CommandError when it did not. Everything below reports arrow::Status: this is where it becomes an exit code.
#pragma once

#include <stdexcept>
#include <string>

#include "arrow/result.h"
#include "arrow/status.h"

namespace CLI {
class App;
}

namespace rushes::cli {

// What went wrong, for stderr; the process ends with exit code 1.
class CommandError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

inline void Check(const arrow::Status& status) {
  if (!status.ok()) throw CommandError(status.message());
}

template <typename T>
T Check(arrow::Result<T> result) {
  Check(result.status());
  return *std::move(result);
}

void AddServe(CLI::App* app);
void AddConnect(CLI::App* app);
void AddList(CLI::App* app);
void AddSchema(CLI::App* app);
void AddQuery(CLI::App* app);
void AddDemo(CLI::App* app);

}  // namespace rushes::cli
