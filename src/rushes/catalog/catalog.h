// The catalog: entries, datasets, segments, layers, tasks.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "arrow/result.h"
#include "rushes/catalog/catalog_state.h"
#include "rushes/catalog/job_queue.h"
#include "rushes/catalog/journal.h"
#include "rushes/catalog/staging_area.h"
#include "rushes/catalog/table_space.h"
#include "rushes/catalog/task_list.h"
#include "rushes/chunk/catalog_types.h"
#include "rushes/chunk/mutex.h"

namespace rushes {

struct RegisterOptions {
  // Damaged files are registered with what can be read of them, and the damage is logged.
  bool accept_damaged = false;
  // Files that take long to read, large ones without a footer, are waited for at most so many seconds; the answer then names tasks that go
  // on. Negative: until all is done.
  double wait_s = -1;
  // Asked now and then until the answer is there; true: nothing is registered.
  std::function<bool()> is_cancelled;
};

struct RegistrationRow;

// Thread safe. Readers take a state and work on it as long as they like; a writer makes the next state, has it recorded by the journal,
// then publishes it. Recordings are read before any lock is taken.
//
// Errors: KeyError (not found), AlreadyExists, Invalid (bad argument), NotImplemented, IOError (files, journal).
class Catalog {
 public:
  explicit Catalog(std::unique_ptr<Journal> journal = std::make_unique<MemoryJournal>(), TableSpaceOptions tables = {});
  // Gives up what is registered in the background.
  ~Catalog();
  Catalog(const Catalog&) = delete;

  // The state now. Never null.
  std::shared_ptr<const CatalogState> state() const;

  // --- entries

  struct Filter {
    std::optional<EntryId> id;
    std::optional<std::string> name;
    std::optional<std::vector<EntryKind>> kinds;  // unset: all
  };
  std::vector<EntryDetails> FindEntries(const Filter& filter) const;

  // A dataset with its blueprint and asset companions. AlreadyExists when the name or id is taken.
  arrow::Result<EntryPtr> CreateDataset(const std::string& name, std::optional<EntryId> id = std::nullopt);
  // Replaces the details. A reference must be to an existing dataset of the right kind (Invalid); an asset dataset is kept when unset, and
  // made anew when it is gone.
  arrow::Result<EntryPtr> UpdateDataset(EntryId id, DatasetDetails details, std::optional<std::string> default_segment_table_blueprint);
  arrow::Result<EntryPtr> Rename(EntryId id, const std::string& name);
  // A dataset goes with its companions. Recordings stay on disk.
  arrow::Status Delete(EntryId id);

  // --- tables: catalog_tables.cc

  // An empty table with a blueprint companion. Its rows are kept at `url`, a `file://` URL of a directory that does not exist or is empty;
  // without one, where the server keeps tables. AlreadyExists when the name is taken or a table is there; then nothing is left behind.
  arrow::Result<EntryPtr> CreateTable(const std::string& name, const arrow::Schema& schema,
                                      const std::optional<std::string>& url = std::nullopt);
  // A table that is at `url` already. Several entries may share one; each sees what is written through the others.
  arrow::Result<EntryPtr> RegisterTable(const std::string& name, const std::string& url);
  // Replaces the details. An unset blueprint dataset means the one there is; it is made anew when there is none.
  arrow::Result<EntryPtr> UpdateTable(EntryId id, TableDetails details);
  // All rows of a table, `__entries` as well. `columns`: as in Table::Read.
  arrow::Result<std::shared_ptr<arrow::RecordBatchReader>> ReadTable(
      EntryId id, const std::optional<std::vector<std::string>>& columns = std::nullopt) const;
  arrow::Result<std::shared_ptr<arrow::Schema>> GetTableSchema(EntryId id) const;
  // Invalid for `__entries`.
  arrow::Result<std::unique_ptr<TableWriter>> WriteTable(EntryId id) const;
  // Where tables are that were created without a URL.
  TableSpace& table_space() { return table_space_; }

  // --- registration

  // Reads the files' indexes in parallel, then adds them in one change. An error means that nothing was registered: a source that is
  // missing, damaged or not a recording, no source at all, one (segment, layer) twice. What is wrong with a single (segment, layer) beside
  // the others (it exists already under kError, its schema does not fit, a limit of its dataset's kind) fails the task of that row.
  //
  // With `options.wait_s` the answer may come before files that take long are read: their rows name tasks of their own. What turns out to
  // be wrong with such a file fails its tasks only; a task that is cancelled takes its row out.
  arrow::Result<std::vector<RegisteredSource>> Register(EntryId dataset, const std::vector<DataSource>& sources, IfDuplicate on_duplicate,
                                                        const RegisterOptions& options = {});
  // Removes the product of segments and layers; an empty list means all of that kind. Invalid when both are empty. Gives what was removed.
  // While one of them is being registered: an error for which IsBusy holds; with `force` that registration is cancelled.
  arrow::Result<std::vector<LayerPtr>> Unregister(EntryId dataset, const std::vector<std::string>& segments,
                                                  const std::vector<std::string>& layers, bool force = false);
  static bool IsBusy(const arrow::Status& status);

  // The layer of an id, while it is registered or somebody still reads it; nullptr otherwise.
  LayerPtr FindLayer(const Tuid& layer_id) const;

  // Tasks of registrations.
  TaskList& tasks() { return tasks_; }
  std::vector<TaskInfo> QueryTasks(const std::vector<std::string>& ids) const { return tasks_.Query(ids); }

  // --- files of the server itself

  // Where uploads go, and files that maintenance writes. Opened by the first call.
  arrow::Result<std::shared_ptr<StagingArea>> staging();
  // To be called before it is opened.
  void SetStagingOptions(StagingOptions options);
  // What the options say; gives a report for the user, empty if there was nothing to do. Invalid: a time of cleanup that is too recent;
  // CapacityError: the staging area is full; Cancelled. Blocks for as long as it takes; other calls go on, and queries that are under way
  // see the files they began with.
  arrow::Result<std::string> Maintain(EntryId dataset, const MaintenanceOptions& options,
                                      const std::function<bool()>& is_cancelled = nullptr);
  // Removes uploads, and files that maintenance wrote, that no dataset uses and that are older than a day.
  arrow::Status MaintainAll();
  // The files that layers are read from: registered ones, and those of queries that still go on.
  std::vector<std::string> ListFilesInUse() const;

  // --- mutable properties of segments

  // Replaces all properties of a segment, which need not be registered. Gives the new revision. With `expected_revision`: only if that is
  // the present one (0: none there), else RevisionMismatch. Invalid unless `row` has one row.
  arrow::Result<uint64_t> SetProperties(EntryId dataset, const std::string& segment_id, std::shared_ptr<arrow::RecordBatch> row,
                                        std::optional<uint64_t> expected_revision);
  struct PropertiesDeletion {
    std::string segment_id;
    std::optional<uint64_t> expected_revision;  // another one: left alone
  };
  arrow::Status DeleteProperties(EntryId dataset, const std::vector<PropertiesDeletion>& deletions);
  // True for the error of SetProperties when the revision was another one.
  static bool IsRevisionMismatch(const arrow::Status& status);

  // --- events

  // Calls `listener` from the changing thread after each change; it must be quick and not call back. Drop the handle to end it.
  std::shared_ptr<void> Subscribe(std::function<void(const CatalogEvent&)> listener);

 private:
  // Works on a copy of the state; what it returns happens if the journal takes `change`.
  using Edit = std::function<arrow::Status(CatalogState* next, CatalogChange* change)>;
  arrow::Status Commit(const Edit& edit) RUSHES_EXCLUDES(write_mutex_);
  // Greater than every time given before.
  int64_t NowNs() RUSHES_REQUIRES(write_mutex_);
  // Adds what can be added in one change; `failure` of the others says why not. Rows whose tasks were cancelled are left out. Gives the
  // revision of the dataset afterwards.
  arrow::Result<uint64_t> CommitRows(EntryId dataset, IfDuplicate on_duplicate, std::vector<RegistrationRow>* rows);
  std::shared_ptr<StagingArea> OpenedStaging() const;
  arrow::Result<std::string> CompactDataset(const Entry& dataset, const std::function<bool()>& is_cancelled);
  // False if `old_layer` is not there any more.
  arrow::Result<bool> ReplaceLayer(EntryId dataset, const LayerPtr& old_layer, const std::shared_ptr<Layer>& layer);
  arrow::Result<std::string> SweepStaging(int64_t before_ns);
  // Keeps a layer (if any) for a while; forgets those whose time is over.
  void Retire(const LayerPtr& layer);
  void RememberLayer(const LayerPtr& layer);
  void Notify(const CatalogEvent& event);

  arrow::Result<EntryPtr> AddTable(const std::string& name, std::shared_ptr<Table> table);

  const std::unique_ptr<Journal> journal_;
  TableSpace table_space_;

  Mutex write_mutex_;  // one writer at a time
  int64_t last_time_ns_ RUSHES_GUARDED_BY(write_mutex_) = 0;

  mutable Mutex state_mutex_;  // held to copy or swap the pointer only
  std::shared_ptr<const CatalogState> state_ RUSHES_GUARDED_BY(state_mutex_);

  mutable Mutex layers_mutex_;
  std::unordered_map<Tuid, std::weak_ptr<const Layer>> layers_ RUSHES_GUARDED_BY(layers_mutex_);
  size_t layers_purge_at_ RUSHES_GUARDED_BY(layers_mutex_) = 1024;
  // Layers whose chunks are read from other files now, until when they are kept for those who look for them still.
  static constexpr std::chrono::minutes kRetirement{10};
  std::deque<std::pair<std::chrono::steady_clock::time_point, LayerPtr>> retired_ RUSHES_GUARDED_BY(layers_mutex_);

  TaskList tasks_;

  mutable Mutex staging_mutex_;
  StagingOptions staging_options_ RUSHES_GUARDED_BY(staging_mutex_);
  std::shared_ptr<StagingArea> staging_ RUSHES_GUARDED_BY(staging_mutex_);

  Mutex listeners_mutex_;
  std::vector<std::weak_ptr<std::function<void(const CatalogEvent&)>>> listeners_ RUSHES_GUARDED_BY(listeners_mutex_);

  JobQueue jobs_;  // last: its jobs use all of the above
};

}  // namespace rushes
