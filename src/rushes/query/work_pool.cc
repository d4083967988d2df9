#include "rushes/query/work_pool.h"

#include <algorithm>
#include <cstdlib>

#include "arrow/util/cpu_info.h"
#include "arrow/util/future.h"
#include "arrow/util/thread_pool.h"

namespace rushes {
namespace {

// Never destroyed, but at rest when the process ends: what its threads touch, in Arrow and here, is taken down then. Its work that runs is
// waited for, what has not begun is dropped, and sets that still come are done by whoever waits for them. Arrow's pool starts its threads
// anew after a fork.
arrow::internal::ThreadPool* SharedThreads() {
  using Pool = std::shared_ptr<arrow::internal::ThreadPool>;
  static const Pool* const kPool = [] {
    auto* const pool = new Pool(arrow::internal::ThreadPool::MakeEternal(arrow::internal::ThreadPool::DefaultCapacity()).ValueOrDie());
    // Handlers run in reverse order: registered after Arrow made what it makes for a first task, this one runs before its end.
    if (const auto first = (*pool)->Submit([] {}); first.ok()) first->Wait();
    std::atexit([] { ARROW_UNUSED(SharedThreads()->Shutdown(/*wait=*/false)); });
    return pool;
  }();
  return kPool->get();
}

}  // namespace

struct WorkSet::State {
  std::vector<Piece> pieces;
  std::atomic<size_t> next = 0;
  std::atomic<bool> skip = false;

  Mutex mutex;
  CondVar all_done;
  size_t done RUSHES_GUARDED_BY(mutex) = 0;
  arrow::Status status RUSHES_GUARDED_BY(mutex);
};

WorkSet::WorkSet(std::vector<Piece> pieces) : state_(std::make_shared<State>()) { state_->pieces = std::move(pieces); }
WorkSet::~WorkSet() { Cancel(); }

void WorkSet::Cancel() { state_->skip = true; }

void WorkSet::Work(State* state) {
  while (true) {
    const size_t piece = state->next.fetch_add(1);
    if (piece >= state->pieces.size()) return;
    arrow::Status status;
    if (!state->skip.load()) {
      status = state->pieces[piece]();
      if (!status.ok()) state->skip = true;
    }
    state->pieces[piece] = nullptr;  // what it holds is not needed any more
    MutexLock lock(state->mutex);
    if (!status.ok() && state->status.ok()) state->status = std::move(status);
    if (++state->done == state->pieces.size()) state->all_done.NotifyAll();
  }
}

void WorkSet::Start(int max_threads) {
  const int limit = max_threads > 0 ? max_threads : WorkParallelism();
  const int threads = static_cast<int>(std::min<size_t>(state_->pieces.size(), static_cast<size_t>(limit)));
  for (int i = 0; i < threads; ++i) {
    // If no thread can be had, Wait does the work.
    ARROW_UNUSED(SharedThreads()->Spawn([state = state_] { Work(state.get()); }));
  }
}

arrow::Status WorkSet::Wait() {
  State* const state = state_.get();
  Work(state);
  MutexLock lock(state->mutex);
  state->all_done.Wait(lock, [state]() RUSHES_NO_THREAD_SAFETY_ANALYSIS { return state->done == state->pieces.size(); });
  return state->status;
}

arrow::Status ParallelFor(int count, int max_threads, const std::function<arrow::Status(int)>& piece) {
  const int threads = max_threads > 0 ? std::min(max_threads, WorkParallelism()) : WorkParallelism();
  if (count <= 1 || threads <= 1) {
    for (int i = 0; i < count; ++i) ARROW_RETURN_NOT_OK(piece(i));
    return arrow::Status::OK();
  }
  std::vector<WorkSet::Piece> pieces;
  pieces.reserve(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) pieces.push_back([&piece, i] { return piece(i); });
  WorkSet set(std::move(pieces));
  set.Start(threads - 1);
  return set.Wait();
}

int WorkParallelism() { return std::max(1, SharedThreads()->GetCapacity()); }

}  // namespace rushes
