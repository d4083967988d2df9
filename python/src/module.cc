// rushes._core: what the Python package needs from the C++ library, no more. The classes users see are written in Python around it.

#include <nanobind/nanobind.h>

#include "arrow_objects.h"
#include "bindings.h"
#include "blocking.h"
#include "scan.h"
#include "status.h"

NB_MODULE(_core, module) {
  // Objects may be alive in globals when the interpreter ends; that is no error of the user's.
  nanobind::set_leak_warnings(false);
  rushes::python::BindStatus(module);
  rushes::python::BindBlocking(module);
  rushes::python::BindArrowObjects(module);
  rushes::python::BindScan(module);
  rushes::python::BindTables(module);
  rushes::python::BindDataset(module);
  rushes::python::BindText(module);
  rushes::python::BindConnection(module);
  rushes::python::BindServer(module);
}
