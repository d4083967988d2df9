// arrow::Status -> Python exceptions: the one place where the classes are chosen.
#pragma once

#include <exception>
#include <string>
#include <utility>

#include <nanobind/nanobind.h>
#include "arrow/result.h"
#include "arrow/status.h"

namespace rushes::python {

// Carries a status to the edge of the module, where it becomes
//
//   not found                              rushes.catalog.NotFoundError
//   already exists                         rushes.catalog.AlreadyExistsError
//   invalid argument, bad data             ValueError
//   wrong type; index out of bounds        TypeError; IndexError
//   unauthenticated, permission denied     PermissionError
//   deadline                               TimeoutError
//   unavailable, exhausted, server closed  ConnectionError
//   not implemented                        NotImplementedError (a RuntimeError)
//   out of memory, budget exceeded         MemoryError
//   files                                  OSError
//   internal, everything else              RuntimeError
class StatusError : public std::exception {
 public:
  explicit StatusError(arrow::Status status) : status_(std::move(status)), message_(status_.message()) {}
  const arrow::Status& status() const { return status_; }
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  arrow::Status status_;
  std::string message_;
};

inline void Check(const arrow::Status& status) {
  if (!status.ok()) throw StatusError(status);
}
template <typename T>
T Check(arrow::Result<T> result) {
  if (!result.ok()) throw StatusError(result.status());
  return std::move(result).ValueUnsafe();
}

void BindStatus(nanobind::module_& module);

}  // namespace rushes::python
