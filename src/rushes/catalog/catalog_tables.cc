// Catalog: what concerns tables.
#include <utility>

#include "rushes/catalog/catalog.h"
#include "rushes/catalog/entry_name.h"
#include "rushes/catalog/source_url.h"
#include "rushes/catalog/table_schema.h"
#include "rushes/catalog/table_writer.h"

namespace rushes {
namespace {

arrow::Status NameTaken(const std::string& name) { return arrow::Status::AlreadyExists("Entry name '", name, "' already exists"); }

arrow::Status IsSystemTable(const Entry& entry, const char* what) {
  if (entry.table != nullptr) return arrow::Status::OK();
  return arrow::Status::Invalid("the system table '", entry.entry.name, "' cannot be ", what);
}

}  // namespace

arrow::Result<EntryPtr> Catalog::AddTable(const std::string& name, std::shared_ptr<Table> table) {
  const EntryId id = Tuid::New();
  const std::string url = FileUrl(table->directory());
  EntryPtr created;
  ARROW_RETURN_NOT_OK(Commit([&](CatalogState* next, CatalogChange* change) RUSHES_NO_THREAD_SAFETY_ANALYSIS -> arrow::Status {
    for (const std::string& taken : {name, BlueprintDatasetName(id)}) {
      if (next->Find(taken)) return NameTaken(taken);
    }
    const int64_t now_ns = NowNs();
    const EntryPtr blueprints = MakeDatasetEntry(Tuid::New(), BlueprintDatasetName(id), EntryKind::kBlueprintDataset, now_ns);
    auto entry = std::make_shared<Entry>();
    entry->entry = {id, name, EntryKind::kTable, now_ns, now_ns};
    entry->details.blueprint_dataset = blueprints->entry.id;
    entry->table = table;
    entry->table_url = url;
    created = entry;
    for (const EntryPtr& put : {blueprints, created}) {
      change->put_entries.push_back(put);
      next->Put(put);
    }
    return arrow::Status::OK();
  }));
  Notify({true, id});
  return created;
}

arrow::Result<EntryPtr> Catalog::CreateTable(const std::string& name, const arrow::Schema& schema, const std::optional<std::string>& url) {
  ARROW_RETURN_NOT_OK(ValidateEntryName(name));
  if (state()->Find(name)) return NameTaken(name);
  ARROW_ASSIGN_OR_RAISE(auto table_schema, MakeTableSchema(schema));
  ARROW_ASSIGN_OR_RAISE(auto table,
                        url ? table_space_.CreateAt(*url, std::move(table_schema)) : table_space_.Create(std::move(table_schema)));
  auto created = AddTable(name, table);
  // Somebody else took the name meanwhile: the storage that was made goes again.
  if (!created.ok()) table->RemoveStorage();
  return created;
}

arrow::Result<EntryPtr> Catalog::RegisterTable(const std::string& name, const std::string& url) {
  ARROW_RETURN_NOT_OK(ValidateEntryName(name));
  if (state()->Find(name)) return NameTaken(name);
  ARROW_ASSIGN_OR_RAISE(auto table, table_space_.OpenAt(url));
  return AddTable(name, std::move(table));
}

arrow::Result<EntryPtr> Catalog::UpdateTable(EntryId id, TableDetails details) {
  EntryPtr updated;
  ARROW_RETURN_NOT_OK(Commit([&](CatalogState* next, CatalogChange* change) RUSHES_NO_THREAD_SAFETY_ANALYSIS -> arrow::Status {
    ARROW_ASSIGN_OR_RAISE(const EntryPtr old, next->GetTable(id));
    ARROW_RETURN_NOT_OK(IsSystemTable(*old, "changed"));
    const int64_t now_ns = NowNs();
    if (details.blueprint_dataset) {
      const EntryPtr blueprints = next->Find(*details.blueprint_dataset);
      if (!blueprints) {
        return arrow::Status::Invalid("table blueprint dataset does not exist: '", EntryIdText(*details.blueprint_dataset), "'");
      }
      if (blueprints->entry.kind != EntryKind::kBlueprintDataset) {
        return arrow::Status::Invalid("table blueprint dataset '", blueprints->entry.name, "' is not a blueprint dataset");
      }
    } else {
      details.blueprint_dataset = old->details.blueprint_dataset;
      if (!details.blueprint_dataset || !next->Find(*details.blueprint_dataset)) {
        const std::string name = BlueprintDatasetName(id);
        if (next->Find(name)) return NameTaken(name);
        const EntryPtr blueprints = MakeDatasetEntry(Tuid::New(), name, EntryKind::kBlueprintDataset, now_ns);
        details.blueprint_dataset = blueprints->entry.id;
        change->put_entries.push_back(blueprints);
        next->Put(blueprints);
      }
    }
    auto entry = std::make_shared<Entry>(*old);
    entry->details.blueprint_dataset = details.blueprint_dataset;
    entry->details.default_blueprint_segment = details.default_blueprint_segment;
    entry->entry.updated_at_ns = now_ns;
    updated = entry;
    change->put_entries.push_back(updated);
    next->Put(updated);
    return arrow::Status::OK();
  }));
  return updated;
}

arrow::Result<std::shared_ptr<arrow::RecordBatchReader>> Catalog::ReadTable(EntryId id,
                                                                            const std::optional<std::vector<std::string>>& columns) const {
  const auto now = state();
  ARROW_ASSIGN_OR_RAISE(const EntryPtr entry, now->GetTable(id));
  if (entry->table != nullptr) {
    ARROW_ASSIGN_OR_RAISE(auto snapshot, entry->table->Current());
    return entry->table->Read(std::move(snapshot), columns);
  }
  ARROW_ASSIGN_OR_RAISE(auto batch, now->EntriesTable());
  if (columns) {
    std::vector<int> positions;
    for (const std::string& name : *columns) {
      positions.push_back(batch->schema()->GetFieldIndex(name));
      if (positions.back() < 0) return arrow::Status::Invalid("column '", name, "' not found in the table");
    }
    ARROW_ASSIGN_OR_RAISE(batch, batch->SelectColumns(positions));
  }
  const auto schema = batch->schema();
  return arrow::RecordBatchReader::Make({std::move(batch)}, schema);
}

arrow::Result<std::shared_ptr<arrow::Schema>> Catalog::GetTableSchema(EntryId id) const {
  ARROW_ASSIGN_OR_RAISE(const EntryPtr entry, state()->GetTable(id));
  if (entry->table == nullptr) return CatalogState::EntriesSchema();
  ARROW_ASSIGN_OR_RAISE(const auto snapshot, entry->table->Current());
  return snapshot->schema;
}

arrow::Result<std::unique_ptr<TableWriter>> Catalog::WriteTable(EntryId id) const {
  ARROW_ASSIGN_OR_RAISE(const EntryPtr entry, state()->GetTable(id));
  ARROW_RETURN_NOT_OK(IsSystemTable(*entry, "written"));
  return TableWriter::Begin(entry->table, table_space_.limits());
}

}  // namespace rushes
