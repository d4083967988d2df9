#include "status.h"

#include "rushes/wire/status.h"

namespace rushes::python {
namespace {

namespace nb = nanobind;

// A class of rushes._errors, imported when the first error of its kind is raised.
nb::object OwnClass(const char* name) { return nb::module_::import_("rushes._errors").attr(name); }

nb::object ClassOfCode(wire::RpcCode code) {
  switch (code) {
    case wire::RpcCode::kNotFound:
      return OwnClass("NotFoundError");
    case wire::RpcCode::kAlreadyExists:
      return OwnClass("AlreadyExistsError");
    case wire::RpcCode::kInvalidArgument:
    case wire::RpcCode::kOutOfRange:
      return nb::borrow(PyExc_ValueError);
    case wire::RpcCode::kDeadlineExceeded:
      return nb::borrow(PyExc_TimeoutError);
    case wire::RpcCode::kPermissionDenied:
    case wire::RpcCode::kUnauthenticated:
      return nb::borrow(PyExc_PermissionError);
    case wire::RpcCode::kUnavailable:
    case wire::RpcCode::kResourceExhausted:
    case wire::RpcCode::kCancelled:
      return nb::borrow(PyExc_ConnectionError);
    case wire::RpcCode::kUnimplemented:
      return nb::borrow(PyExc_NotImplementedError);
    default:
      return nb::borrow(PyExc_RuntimeError);
  }
}

nb::object ClassOf(const arrow::Status& status) {
  if (dynamic_cast<const wire::RpcStatusDetail*>(status.detail().get()) != nullptr) return ClassOfCode(wire::CodeOf(status));
  switch (status.code()) {
    case arrow::StatusCode::KeyError:
      return OwnClass("NotFoundError");
    case arrow::StatusCode::AlreadyExists:
      return OwnClass("AlreadyExistsError");
    case arrow::StatusCode::Invalid:
    case arrow::StatusCode::SerializationError:
      return nb::borrow(PyExc_ValueError);
    case arrow::StatusCode::TypeError:
      return nb::borrow(PyExc_TypeError);
    case arrow::StatusCode::IndexError:
      return nb::borrow(PyExc_IndexError);
    case arrow::StatusCode::NotImplemented:
      return nb::borrow(PyExc_NotImplementedError);
    case arrow::StatusCode::OutOfMemory:
    case arrow::StatusCode::CapacityError:
      return nb::borrow(PyExc_MemoryError);
    case arrow::StatusCode::IOError:
      return nb::borrow(PyExc_OSError);
    case arrow::StatusCode::Cancelled:
      return nb::borrow(PyExc_ConnectionError);
    default:
      return nb::borrow(PyExc_RuntimeError);
  }
}

void Translate(const std::exception_ptr& pointer, void*) {
  try {
    std::rethrow_exception(pointer);
  } catch (const StatusError& error) {
    // Words of another server, or of a file, may not be UTF-8.
    const std::string message = error.what();
    const nb::object text = nb::steal(PyUnicode_DecodeUTF8(message.data(), static_cast<Py_ssize_t>(message.size()), "replace"));
    if (text.is_valid()) PyErr_SetObject(ClassOf(error.status()).ptr(), text.ptr());
  }
}

}  // namespace

void BindStatus(nb::module_&) { nb::register_exception_translator(Translate); }

}  // namespace rushes::python
