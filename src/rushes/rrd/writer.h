// Writes recording files.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "arrow/io/interfaces.h"
#include "arrow/result.h"
#include "rushes/chunk/chunk.h"
#include "rushes/chunk/dataset_schema.h"
#include "rushes/rrd/format.h"
#include "rushes/rrd/manifest.h"
#include "rushes/rrd/messages.h"

namespace rushes::rrd {

// The schema of a store, united chunk by chunk: the first type of a column wins, as in files of others.
class StoreSchemaBuilder {
 public:
  // False: a column of the chunk has another type than before.
  bool Add(const Chunk& chunk);
  // Static and semantically empty flags as the chunks had it.
  DatasetSchema Finish() const;

 private:
  struct Column {
    ComponentColumn column;
    bool has_instances = false;
  };
  std::map<std::string, Timeline> timelines_;
  std::map<std::string, Column> columns_;
};

struct WriterOptions {
  Compression compression = Compression::kLz4;
  // Without, readers must go through the whole file to know what is in it.
  bool footer = true;
  WriterVersion version = kOurVersion;
};

// One stream. Not thread safe. After an error the file is incomplete.
class Writer {
 public:
  // Creates or replaces a file.
  static arrow::Result<std::unique_ptr<Writer>> Open(const std::string& path, WriterOptions options = {});
  static arrow::Result<std::unique_ptr<Writer>> Make(std::shared_ptr<arrow::io::OutputStream> sink, WriterOptions options = {});
  ~Writer();

  // Announces a store; done by the first chunk of a store if not before. Application ids are normalised.
  arrow::Status AddStore(const StoreId& store_id);
  // Appends a chunk. Chunks without rows or components are left out: readers ignore them.
  arrow::Status Write(const StoreId& store_id, const Chunk& chunk);
  // Makes a blueprint the active or default one of its application; after its chunks.
  arrow::Status ActivateBlueprint(const StoreId& store_id, bool make_active, bool make_default);
  // Writes the footer and closes the file.
  arrow::Status Close();

 private:
  struct Store {
    SegmentIndexBuilder index;
    StoreSchemaBuilder schema;
    bool has_chunks = false;
  };
  Writer(std::shared_ptr<arrow::io::OutputStream> sink, WriterOptions options);
  arrow::Status WriteFrame(FrameKind kind, std::initializer_list<std::string_view> payload);

  std::shared_ptr<arrow::io::OutputStream> sink_;
  WriterOptions options_;
  int64_t position_ = 0;
  std::map<StoreId, Store> stores_;
};

}  // namespace rushes::rrd
