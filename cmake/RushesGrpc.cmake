# Debian's gRPC and protobuf, in the two forms our link rules allow.
#
#   rushes::grpc_static   for executables and C++ tests: static archives, their symbols kept inside
#   rushes::grpc_shared   for the Python module: shared libraries (two of the archives are not position independent)
#   rushes::grpc          picks one of the two by the kind of target that is linked in the end
#
# rushes_add_proto_library(NAME <name> ROOT <dir> PROTOS <files>...) compiles .proto files, messages and services,
# into the static library rushes_<name>; headers are included by their path below ROOT.

find_program(RUSHES_PKG_CONFIG pkg-config REQUIRED)

if(NOT TARGET rushes::grpc)
  # One linker script names all archives as a group: whatever order libraries come in, each is searched until nothing
  # is missing, and --exclude-libs keeps every symbol of theirs out of the dynamic symbol table.
  execute_process(COMMAND "${RUSHES_PKG_CONFIG}" --static --libs-only-l grpc++ protobuf
                  OUTPUT_VARIABLE _grpc_libs OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  string(REPLACE " " ";" _grpc_libs "${_grpc_libs}")
  list(REMOVE_DUPLICATES _grpc_libs)
  list(REMOVE_ITEM _grpc_libs -lpthread -lm -lrt -ldl -lsystemd "")
  set(_grpc_archives "")
  foreach(_lib IN LISTS _grpc_libs)
    string(REGEX REPLACE "^-l" "lib" _lib "${_lib}")
    execute_process(COMMAND "${CMAKE_CXX_COMPILER}" -print-file-name=${_lib}.a
                    OUTPUT_VARIABLE _archive OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
    if(NOT IS_ABSOLUTE "${_archive}")
      message(FATAL_ERROR "${_lib}.a is not installed (Debian: libgrpc++-dev libprotobuf-dev libssl-dev)")
    endif()
    list(APPEND _grpc_archives "${_archive}")
  endforeach()
  list(JOIN _grpc_archives "\n  " _grpc_archives)
  set(_grpc_script "${CMAKE_BINARY_DIR}/libgrpc_static.a")
  file(CONFIGURE OUTPUT "${_grpc_script}" CONTENT "/* linker script */\nGROUP(\n  ${_grpc_archives}\n)\n" @ONLY)

  find_package(Threads REQUIRED)
  # Arrow's kernels come after the archives on every link line: what is still missing then, re2 above all, would otherwise be
  # taken from libarrow_compute, which exports its own.
  add_library(rushes::grpc_static STATIC IMPORTED GLOBAL)
  set_target_properties(
    rushes::grpc_static
    PROPERTIES IMPORTED_LOCATION "${_grpc_script}" INTERFACE_LINK_LIBRARIES "Threads::Threads;dl;rt;rushes::arrow_compute"
               INTERFACE_LINK_OPTIONS "-Wl,--exclude-libs,ALL")

  add_library(rushes::grpc_shared INTERFACE IMPORTED GLOBAL)
  set_property(TARGET rushes::grpc_shared PROPERTY INTERFACE_LINK_LIBRARIES grpc++ grpc gpr protobuf Threads::Threads)

  add_library(rushes::grpc INTERFACE IMPORTED GLOBAL)
  set_property(
    TARGET rushes::grpc
    PROPERTY INTERFACE_LINK_LIBRARIES
             "$<IF:$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>,rushes::grpc_static,rushes::grpc_shared>")
endif()

function(rushes_add_proto_library)
  cmake_parse_arguments(ARG "" "NAME;ROOT" "PROTOS" ${ARGN})
  find_program(RUSHES_PROTOC protoc REQUIRED)
  find_program(RUSHES_GRPC_CPP_PLUGIN grpc_cpp_plugin REQUIRED)
  get_filename_component(root "${ARG_ROOT}" ABSOLUTE)
  set(out "${CMAKE_BINARY_DIR}/gen")
  file(MAKE_DIRECTORY "${out}")
  set(sources "")
  foreach(proto IN LISTS ARG_PROTOS)
    file(RELATIVE_PATH rel "${root}" "${proto}")
    string(REGEX REPLACE "\\.proto$" "" stem "${rel}")
    set(generated "${out}/${stem}.pb.cc" "${out}/${stem}.pb.h" "${out}/${stem}.grpc.pb.cc" "${out}/${stem}.grpc.pb.h")
    add_custom_command(
      OUTPUT ${generated}
      COMMAND "${RUSHES_PROTOC}" "--plugin=protoc-gen-grpc=${RUSHES_GRPC_CPP_PLUGIN}" "-I${root}" "--cpp_out=${out}"
              "--grpc_out=${out}" "${rel}"
      DEPENDS ${ARG_PROTOS}
      WORKING_DIRECTORY "${root}"
      COMMENT "protoc ${rel}"
      VERBATIM)
    list(APPEND sources ${generated})
  endforeach()
  # Tools that only read headers need no more than this.
  add_custom_target(rushes_${ARG_NAME}_generated DEPENDS ${sources})
  add_library(rushes_${ARG_NAME} STATIC ${sources})
  add_dependencies(rushes_${ARG_NAME} rushes_${ARG_NAME}_generated)
  add_library(rushes::${ARG_NAME} ALIAS rushes_${ARG_NAME})
  # The includes that find these headers are given to every target of ours in RushesTargets.cmake.
  target_include_directories(rushes_${ARG_NAME} SYSTEM PUBLIC "$<BUILD_INTERFACE:${out}>")
  # Generated code takes minutes to compile and is not where the time goes when it runs.
  target_compile_options(rushes_${ARG_NAME} PRIVATE -O1 -g0 -w -fno-sanitize=all)
  target_compile_features(rushes_${ARG_NAME} PUBLIC cxx_std_20)
  target_link_libraries(rushes_${ARG_NAME} PUBLIC rushes::grpc)
  set_target_properties(rushes_${ARG_NAME} PROPERTIES POSITION_INDEPENDENT_CODE ON)
endfunction()
