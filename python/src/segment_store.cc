// A segment chunk by chunk, and recordings written from chunks.

#include "rushes/api/segment_store.h"
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>
#include "arrow_objects.h"
#include "bindings.h"
#include "rushes/rrd/writer.h"
#include "rushes/wire/headers.h"
#include "status.h"

namespace rushes::python {
namespace {

namespace nb = nanobind;

struct ChunkObject {
  ChunkPtr chunk;
};

struct SegmentStoreObject {
  Owned<SegmentStore> store;
};

// Several threads may write; their calls come one after another.
class RecordingWriter {
 public:
  RecordingWriter(const std::string& path, const std::string& application_id, const std::string& recording_id)
      : store_id_{StoreKind::kRecording, application_id, recording_id}, path_(path) {}

  arrow::Status Open() {
    std::lock_guard<std::mutex> lock(mutex_);
    ARROW_ASSIGN_OR_RAISE(writer_, rrd::Writer::Open(path_));
    return writer_->AddStore(store_id_);
  }
  arrow::Status Write(const Chunk& chunk) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!writer_) return arrow::Status::Invalid("the recording ", path_, " is closed");
    return writer_->Write(store_id_, chunk);
  }
  arrow::Status Close() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!writer_) return arrow::Status::OK();
    const auto writer = std::move(writer_);
    return writer->Close();
  }

 private:
  const StoreId store_id_;
  const std::string path_;
  std::mutex mutex_;
  std::unique_ptr<rrd::Writer> writer_;
};

struct RecordingWriterObject {
  Owned<RecordingWriter> writer;
};

std::string ChunkIdText(const ChunkId& id) { return "chunk_" + wire::TuidToText(id); }

}  // namespace

void BindSegmentStore(nb::module_& module, nb::class_<ConnectionObject>& connection) {
  nb::class_<ChunkObject>(module, "Chunk")
      .def_prop_ro("id", [](const ChunkObject& self) { return ChunkIdText(self.chunk->id()); })
      .def_prop_ro("entity_path", [](const ChunkObject& self) { return self.chunk->entity().text(); })
      .def_prop_ro("num_rows", [](const ChunkObject& self) { return self.chunk->num_rows(); })
      .def_prop_ro("num_columns", [](const ChunkObject& self) { return self.chunk->schema().arrow_schema()->num_fields(); })
      .def_prop_ro("is_static", [](const ChunkObject& self) { return self.chunk->is_static(); })
      .def_prop_ro("timeline_names",
                   [](const ChunkObject& self) {
                     std::vector<std::string> names;
                     for (const Timeline& timeline : self.chunk->schema().timelines()) names.push_back(timeline.name);
                     return names;
                   })
      .def(
          "__arrow_c_array__", [](const ChunkObject& self, nb::object) { return BatchCapsules(*self.chunk->ToRecordBatch()); },
          nb::arg("requested_schema") = nb::none(),
          nb::sig("def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]"));

  nb::class_<SegmentStoreObject>(module, "SegmentStore")
      .def("schema", [](const SegmentStoreObject& self) { return SchemaObject{self.store.get()->schema()}; })
      .def("chunks",
           [](const SegmentStoreObject& self) {
             using Row = std::tuple<std::string, int64_t, bool, std::vector<std::string>, std::vector<std::string>, int64_t>;
             std::vector<Row> out;
             for (const auto& chunk : self.store.get()->chunks()) {
               out.emplace_back(chunk.entity.text(), chunk.num_rows, chunk.is_static, chunk.timelines, chunk.components, chunk.byte_size);
             }
             return out;
           })
      .def(
          "read",
          [](const SegmentStoreObject& self, std::vector<uint32_t> chunks) {
            auto store = self.store.get();
            for (const uint32_t chunk : chunks) {
              if (chunk >= store->chunks().size()) throw nb::index_error("there is no such chunk");
            }
            std::vector<ChunkObject> out;
            for (auto& chunk : Check(CallBlocking([store, chunks = std::move(chunks)] { return store->Read(chunks); }))) {
              out.push_back({std::move(chunk)});
            }
            return out;
          },
          nb::arg("chunks"));

  nb::class_<RecordingWriterObject>(module, "RecordingWriter")
      .def_static(
          "open",
          [](std::string path, std::string application_id, std::string recording_id) {
            auto writer = std::make_shared<RecordingWriter>(path, application_id, recording_id);
            Check(CallBlocking([writer] { return writer->Open(); }));
            return RecordingWriterObject{Owned<RecordingWriter>(std::move(writer))};
          },
          nb::arg("path"), nb::arg("application_id"), nb::arg("recording_id"))
      .def(
          "write",
          [](const RecordingWriterObject& self, const ChunkObject& chunk) {
            auto writer = self.writer.get();
            Check(CallBlocking([writer, chunk = chunk.chunk] { return writer->Write(*chunk); }));
          },
          nb::arg("chunk"))
      .def("close", [](const RecordingWriterObject& self) {
        auto writer = self.writer.get();
        Check(CallBlocking([writer] { return writer->Close(); }));
      });

  connection.def(
      "open_segment",
      [](const ConnectionObject& self, const nb::bytes& dataset, std::string segment_id, bool include_assets) {
        auto connection = self.connection.get();
        return SegmentStoreObject{Owned<SegmentStore>(Check(CallBlocking([connection, id = ToEntryId(dataset), segment_id, include_assets] {
          return SegmentStore::Open(connection, id, segment_id, include_assets);
        })))};
      },
      nb::arg("dataset"), nb::arg("segment_id"), nb::arg("include_assets"));
}

}  // namespace rushes::python
