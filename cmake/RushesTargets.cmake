# How a folder becomes a target.
#
#   rushes_add_library(NAME chunk [SOURCES a.cc ...] [DEPS x ...])
#       static library rushes_chunk (alias rushes::chunk), position independent, so that executables and the Python module
#       share its objects. Without SOURCES: every .cc file of the folder.
#   rushes_add_executable(NAME rushes SOURCES ... DEPS ... [CARRIED_BY_WHEEL])
#       bin/<name> in the build directory. CARRIED_BY_WHEEL installs it as rushes/bin/<name>.
#   rushes_add_test(NAME chunk_test [SOURCES ...] [DEPS ...] [GRPC] [LABELS ...] [TIMEOUT seconds])
#       a GoogleTest program and one entry of ctest. Without SOURCES: every *_test.cc file of the folder.
#   rushes_add_python_module(NAME _core SOURCES ... DEPS ...)
#       the nanobind extension rushes._core.
#
# DEPS: `chunk` means our library rushes_chunk; a name with `::` is taken as it is (rushes::arrow_compute, rushes::lz4).
# NAME may be left out: the first argument is the name then.

set(RUSHES_WARNINGS -Wall -Wextra -Wno-unused-parameter)

# spdlog and fmt, header only: their Debian libraries stay out of the wheel.
add_library(rushes_log INTERFACE)
add_library(rushes::log ALIAS rushes_log)
target_compile_definitions(rushes_log INTERFACE FMT_HEADER_ONLY=1)

# LZ4's block functions; static in executables, shared in the Python module, as gRPC is.
add_library(rushes_lz4 INTERFACE)
add_library(rushes::lz4 ALIAS rushes_lz4)
target_link_libraries(rushes_lz4 INTERFACE "$<IF:$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>,-l:liblz4.a,-llz4>")

# OpenSSL for code of ours that calls it itself (TLS on our port); the archives come with gRPC's group.
add_library(rushes_openssl INTERFACE)
add_library(rushes::openssl ALIAS rushes_openssl)
target_link_libraries(rushes_openssl INTERFACE "$<IF:$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>,rushes::grpc_static,-lssl;-lcrypto>")

# SQLite, in the same way.
add_library(rushes_sqlite3 INTERFACE)
add_library(rushes::sqlite3 ALIAS rushes_sqlite3)
target_link_libraries(rushes_sqlite3 INTERFACE "$<IF:$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>,-l:libsqlite3.a,-lsqlite3>" dl)

macro(_rushes_parse)
  cmake_parse_arguments(ARG "GRPC;CARRIED_BY_WHEEL" "NAME;TIMEOUT" "SOURCES;DEPS;LABELS" ${ARGN})
  if(NOT ARG_NAME)
    list(POP_FRONT ARG_UNPARSED_ARGUMENTS ARG_NAME)
  endif()
  if(ARG_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "${ARG_NAME}: unknown arguments ${ARG_UNPARSED_ARGUMENTS}")
  endif()
  set(ARG_LINKS "")
  foreach(_dep IN LISTS ARG_DEPS)
    if(NOT _dep MATCHES "::")
      string(REGEX REPLACE "^rushes_" "" _dep "${_dep}")
      set(_dep "rushes_${_dep}")
    endif()
    list(APPEND ARG_LINKS "${_dep}")
  endforeach()
endmacro()

function(_rushes_settings target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_compile_options(${target} PRIVATE ${RUSHES_WARNINGS} -fno-omit-frame-pointer)
  target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}/src")
  target_include_directories(${target} SYSTEM PRIVATE "${PROJECT_BINARY_DIR}/gen")
  target_link_libraries(${target} PRIVATE rushes_log)
endfunction()

function(rushes_add_library)
  _rushes_parse(${ARGN})
  if(NOT ARG_SOURCES)
    file(GLOB ARG_SOURCES CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.cc")
    list(FILTER ARG_SOURCES EXCLUDE REGEX "_(test|benchmark|fuzz)\\.cc$")
  endif()
  set(target rushes_${ARG_NAME})
  if(NOT ARG_SOURCES)
    # Headers alone.
    add_library(${target} INTERFACE)
    add_library(rushes::${ARG_NAME} ALIAS ${target})
    target_include_directories(${target} INTERFACE "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src>" "$<INSTALL_INTERFACE:include>")
    target_link_libraries(${target} INTERFACE ${ARG_LINKS} rushes::arrow)
    return()
  endif()
  add_library(${target} STATIC ${ARG_SOURCES})
  add_library(rushes::${ARG_NAME} ALIAS ${target})
  _rushes_settings(${target})
  target_include_directories(${target} INTERFACE "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src>" "$<INSTALL_INTERFACE:include>")
  target_link_libraries(${target} PUBLIC ${ARG_LINKS} rushes::arrow)
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE ON)
endfunction()

function(_rushes_executable target)
  _rushes_settings(${target})
  set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin"
                                             BUILD_RPATH "${RUSHES_ARROW_LIBRARY_DIR}")
endfunction()

function(rushes_add_executable)
  _rushes_parse(${ARGN})
  set(target ${ARG_NAME})
  add_executable(${target} ${ARG_SOURCES})
  _rushes_executable(${target})
  target_link_libraries(${target} PRIVATE ${ARG_LINKS} rushes::grpc_static rushes::arrow_compute rushes::arrow)
  if(ARG_CARRIED_BY_WHEEL)
    # rushes/bin/<name> sits two folders below site-packages, where pyarrow is.
    set_target_properties(${target} PROPERTIES INSTALL_RPATH "$ORIGIN/../../pyarrow")
    install(TARGETS ${target} RUNTIME DESTINATION rushes/bin COMPONENT python)
  endif()
endfunction()

function(rushes_add_test)
  _rushes_parse(${ARGN})
  if(NOT RUSHES_BUILD_TESTS)
    return()
  endif()
  if(NOT ARG_SOURCES)
    file(GLOB ARG_SOURCES CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*_test.cc")
  endif()
  set(target ${ARG_NAME})
  add_executable(${target} ${ARG_SOURCES} "${PROJECT_SOURCE_DIR}/tests/cpp/main.cc")
  _rushes_executable(${target})
  target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}/tests/cpp")
  target_compile_definitions(${target} PRIVATE RUSHES_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
                                               RUSHES_BINARY_DIR="${PROJECT_BINARY_DIR}")
  if(ARG_GRPC)
    list(APPEND ARG_LINKS rushes::grpc_static)
  endif()
  target_link_libraries(${target} PRIVATE ${ARG_LINKS} GTest::gmock GTest::gtest rushes::arrow_compute rushes::arrow)
  add_test(NAME ${target} COMMAND ${target})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 600)
  endif()
  set(environment "")
  if(RUSHES_SANITIZE)
    # Arrow's own allocators hide its buffers from the sanitizers, which take some thirty times as long for each random store.
    list(APPEND environment ARROW_DEFAULT_MEMORY_POOL=system RUSHES_RANDOM_STORES=1000 "UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1"
         "ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1"
         "LSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/tools/lsan.supp"
         "TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:suppressions=${PROJECT_SOURCE_DIR}/tools/tsan.supp")
  endif()
  set_tests_properties(${target} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}" ENVIRONMENT "${environment}"
                                            WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}")
endfunction()

function(rushes_add_python_module)
  _rushes_parse(${ARGN})
  set(target ${ARG_NAME})
  nanobind_add_module(${target} NB_STATIC NB_DOMAIN rushes NOMINSIZE ${ARG_SOURCES})
  _rushes_settings(${target})
  # Only libarrow and Debian's shared gRPC: kernels come through Arrow's registry after `import pyarrow.compute`.
  # The names of our own archives stay inside as well.
  target_link_libraries(${target} PRIVATE ${ARG_LINKS} rushes::grpc_shared rushes::arrow)
  target_link_options(${target} PRIVATE -Wl,--exclude-libs,ALL -Wl,--no-undefined-version)
  set_target_properties(${target} PROPERTIES LIBRARY_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/python"
                                             BUILD_RPATH "${RUSHES_ARROW_LIBRARY_DIR}" INSTALL_RPATH "$ORIGIN/../pyarrow")
  install(TARGETS ${target} LIBRARY DESTINATION rushes COMPONENT python)
endfunction()
