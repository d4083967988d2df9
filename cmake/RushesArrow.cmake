# Arrow C++ as the pyarrow wheel ships it: the same headers, libraries and memory as the user's pyarrow.
#
# Gives imported targets rushes::arrow, rushes::arrow_compute, rushes::arrow_acero, rushes::arrow_dataset, rushes::parquet
# and the variables RUSHES_ARROW_INCLUDE_DIR, RUSHES_ARROW_LIBRARY_DIR, RUSHES_ARROW_SO_VERSION.
# The wheel is found through Python_EXECUTABLE.
#
# The wheel's libraries have a version in their file name and no plain one, so they are named by full path.
# libarrow_compute (33 names of re2) and libparquet (all of OpenSSL) must never share a link scope with Debian's shared
# gRPC: executables link gRPC from static archives (RushesGrpc.cmake), the Python module links rushes::arrow alone.

if(NOT TARGET rushes::arrow)
  execute_process(
    COMMAND "${Python_EXECUTABLE}" -c
            "import pyarrow as p; print(p.get_include(), p.get_library_dirs()[0], p.cpp_build_info.so_version, p.__version__, sep=';')"
    OUTPUT_VARIABLE _pyarrow
    OUTPUT_STRIP_TRAILING_WHITESPACE
    RESULT_VARIABLE _pyarrow_failed)
  if(_pyarrow_failed)
    message(FATAL_ERROR "No pyarrow found by ${Python_EXECUTABLE}. Run: ${Python_EXECUTABLE} -m pip install 'pyarrow>=26.0.0,<26.1'")
  endif()
  list(GET _pyarrow 0 RUSHES_ARROW_INCLUDE_DIR)
  list(GET _pyarrow 1 RUSHES_ARROW_LIBRARY_DIR)
  list(GET _pyarrow 2 RUSHES_ARROW_SO_VERSION)
  list(GET _pyarrow 3 _pyarrow_version)
  if(NOT RUSHES_ARROW_SO_VERSION STREQUAL "2600")
    message(FATAL_ERROR "rushes needs pyarrow 26.0.x, ${Python_EXECUTABLE} has ${_pyarrow_version}. "
                        "Run: ${Python_EXECUTABLE} -m pip install 'pyarrow>=26.0.0,<26.1'")
  endif()
  message(STATUS "Arrow ${_pyarrow_version} from ${RUSHES_ARROW_LIBRARY_DIR}")

  # Headers are reached by a path inside the build directory: a compiler cache then knows them again in another virtual
  # environment (the isolated one of `pip install .`, say).
  file(CREATE_LINK "${RUSHES_ARROW_INCLUDE_DIR}" "${PROJECT_BINARY_DIR}/arrow_include" SYMBOLIC)

  foreach(_lib arrow arrow_compute arrow_acero arrow_dataset parquet)
    add_library(rushes::${_lib} SHARED IMPORTED GLOBAL)
    set_target_properties(
      rushes::${_lib}
      PROPERTIES IMPORTED_LOCATION "${RUSHES_ARROW_LIBRARY_DIR}/lib${_lib}.so.${RUSHES_ARROW_SO_VERSION}"
                 INTERFACE_INCLUDE_DIRECTORIES "${PROJECT_BINARY_DIR}/arrow_include"
                 INTERFACE_COMPILE_FEATURES cxx_std_20)
  endforeach()
  set_property(TARGET rushes::arrow_compute PROPERTY INTERFACE_LINK_LIBRARIES rushes::arrow)
  set_property(TARGET rushes::arrow_acero PROPERTY INTERFACE_LINK_LIBRARIES rushes::arrow_compute rushes::arrow)
  set_property(TARGET rushes::parquet PROPERTY INTERFACE_LINK_LIBRARIES rushes::arrow)
  set_property(TARGET rushes::arrow_dataset PROPERTY INTERFACE_LINK_LIBRARIES rushes::arrow_acero rushes::parquet rushes::arrow)
endif()
