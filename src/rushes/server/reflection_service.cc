#include "rushes/server/reflection_service.h"

#include <set>

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>
#include <grpcpp/support/status.h>

#include "grpc/reflection/v1/reflection.grpc.pb.h"
#include "grpc/reflection/v1alpha/reflection.grpc.pb.h"

namespace rushes {
namespace {

// The two versions differ in their package alone.
struct V1 {
  using Service = ::grpc::reflection::v1::ServerReflection;
  using Request = ::grpc::reflection::v1::ServerReflectionRequest;
  using Response = ::grpc::reflection::v1::ServerReflectionResponse;
};
struct V1Alpha {
  using Service = ::grpc::reflection::v1alpha::ServerReflection;
  using Request = ::grpc::reflection::v1alpha::ServerReflectionRequest;
  using Response = ::grpc::reflection::v1alpha::ServerReflectionResponse;
};

const google::protobuf::DescriptorPool& Pool() { return *google::protobuf::DescriptorPool::generated_pool(); }

// The file after all it imports, each once.
template <typename Files>
void AddFile(const google::protobuf::FileDescriptor& file, std::set<const google::protobuf::FileDescriptor*>* seen, Files* out) {
  if (!seen->insert(&file).second) return;
  google::protobuf::FileDescriptorProto proto;
  file.CopyTo(&proto);
  out->add_file_descriptor_proto(proto.SerializeAsString());
  for (int i = 0; i < file.dependency_count(); ++i) AddFile(*file.dependency(i), seen, out);
}

template <typename Response>
void NotFound(const std::string& what, Response* response) {
  response->mutable_error_response()->set_error_code(static_cast<int>(grpc::StatusCode::NOT_FOUND));
  response->mutable_error_response()->set_error_message(what);
}

template <typename Response>
void Describe(const google::protobuf::FileDescriptor* file, const std::string& what, Response* response) {
  if (file == nullptr) return NotFound(what + " is not known here", response);
  std::set<const google::protobuf::FileDescriptor*> seen;
  AddFile(*file, &seen, response->mutable_file_descriptor_response());
}

template <typename Request, typename Response>
void Answer(const std::vector<std::string>& services, const Request& request, Response* response) {
  response->Clear();
  response->set_valid_host(request.host());
  *response->mutable_original_request() = request;
  switch (request.message_request_case()) {
    case Request::kFileByFilename:
      return Describe(Pool().FindFileByName(request.file_by_filename()), "the file '" + request.file_by_filename() + "'", response);
    case Request::kFileContainingSymbol:
      return Describe(Pool().FindFileContainingSymbol(request.file_containing_symbol()),
                      "the symbol '" + request.file_containing_symbol() + "'", response);
    case Request::kFileContainingExtension: {
      const auto& wanted = request.file_containing_extension();
      const auto* type = Pool().FindMessageTypeByName(wanted.containing_type());
      const auto* extension = type == nullptr ? nullptr : Pool().FindExtensionByNumber(type, wanted.extension_number());
      return Describe(extension == nullptr ? nullptr : extension->file(),
                      "the extension " + std::to_string(wanted.extension_number()) + " of '" + wanted.containing_type() + "'", response);
    }
    case Request::kAllExtensionNumbersOfType: {
      const std::string& name = request.all_extension_numbers_of_type();
      const auto* type = Pool().FindMessageTypeByName(name);
      if (type == nullptr) return NotFound("the message type '" + name + "' is not known here", response);
      std::vector<const google::protobuf::FieldDescriptor*> extensions;
      Pool().FindAllExtensions(type, &extensions);
      auto* answer = response->mutable_all_extension_numbers_response();
      answer->set_base_type_name(name);
      for (const auto* extension : extensions) answer->add_extension_number(extension->number());
      return;
    }
    case Request::kListServices:
      for (const std::string& service : services) response->mutable_list_services_response()->add_service()->set_name(service);
      return;
    case Request::MESSAGE_REQUEST_NOT_SET:
      response->mutable_error_response()->set_error_code(static_cast<int>(grpc::StatusCode::INVALID_ARGUMENT));
      response->mutable_error_response()->set_error_message("ServerReflectionRequest.message_request is required");
      return;
  }
}

template <typename Version>
class Reactor final : public grpc::ServerBidiReactor<typename Version::Request, typename Version::Response> {
 public:
  explicit Reactor(const std::vector<std::string>& services) : services_(services) { this->StartRead(&request_); }

  void OnReadDone(bool ok) override {
    if (!ok) {
      this->Finish(grpc::Status::OK);
      return;
    }
    Answer(services_, request_, &response_);
    this->StartWrite(&response_);
  }
  void OnWriteDone(bool ok) override {
    if (ok) {
      this->StartRead(&request_);
    } else {
      this->Finish(grpc::Status(grpc::StatusCode::CANCELLED, "the client went away"));
    }
  }
  void OnDone() override { delete this; }

 private:
  const std::vector<std::string>& services_;
  typename Version::Request request_;
  typename Version::Response response_;
};

template <typename Version>
class ReflectionService final : public Version::Service::CallbackService {
 public:
  explicit ReflectionService(std::vector<std::string> services) : services_(std::move(services)) {}
  grpc::ServerBidiReactor<typename Version::Request, typename Version::Response>* ServerReflectionInfo(
      grpc::CallbackServerContext*) override {
    return new Reactor<Version>(services_);
  }

 private:
  const std::vector<std::string> services_;
};

}  // namespace

std::vector<std::unique_ptr<grpc::Service>> MakeReflectionServices(std::vector<std::string> services) {
  std::vector<std::unique_ptr<grpc::Service>> out;
  out.push_back(std::make_unique<ReflectionService<V1>>(services));
  out.push_back(std::make_unique<ReflectionService<V1Alpha>>(std::move(services)));
  return out;
}

}  // namespace rushes
