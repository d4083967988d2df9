// The main function of every C++ test program.

#include <iostream>

#include <arrow/compute/initialize.h>
#include <arrow/status.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

int main(int argc, char** argv) {
  testing::InitGoogleMock(&argc, argv);
  // Registers the kernels of libarrow_compute, as `import pyarrow.compute` does for the Python module.
  arrow::Status status = arrow::compute::Initialize();
  if (!status.ok()) {
    std::cerr << "arrow::compute::Initialize: " << status.ToString() << std::endl;
    return 1;
  }
  return RUN_ALL_TESTS();
}
