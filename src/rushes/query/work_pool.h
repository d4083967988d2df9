// Threads that all scans of a process share.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "arrow/status.h"
#include "rushes/chunk/mutex.h"

namespace rushes {

// Independent pieces of work, run by the shared threads and by whoever waits for them. Because the waiting thread takes pieces itself, a
// set always finishes, however busy the shared threads are, and pieces may wait for sets of their own.
//
// Pieces must not refer to anything that may be gone before they ran: a set that is dropped skips pieces not yet begun, but does not
// wait for those that run.
class WorkSet {
 public:
  using Piece = std::function<arrow::Status()>;

  explicit WorkSet(std::vector<Piece> pieces);
  ~WorkSet();  // cancels
  WorkSet(const WorkSet&) = delete;

  // Lets at most `max_threads` shared threads begin (0: as many as there are). Call once.
  void Start(int max_threads = 0);
  // Pieces not yet begun are skipped from now on; Wait then waits for the others only.
  void Cancel();
  // Runs what has not begun, waits for the rest. The first error of any piece; after one, pieces not yet begun are skipped.
  arrow::Status Wait();

 private:
  struct State;
  static void Work(State* state);
  std::shared_ptr<State> state_;
};

// Runs pieces(0) … pieces(count - 1) on the shared threads and this one, and returns when all are done.
arrow::Status ParallelFor(int count, int max_threads, const std::function<arrow::Status(int)>& piece);

// Threads a single scan can use at once.
int WorkParallelism();

}  // namespace rushes
