# ccache, when installed, with paths made relative to the source tree: build/release, the wheel's build and a second clone
# then share their results.
find_program(RUSHES_CCACHE ccache)
if(RUSHES_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(_launcher env "CCACHE_BASEDIR=${PROJECT_SOURCE_DIR}" CCACHE_NOHASHDIR=1 "${RUSHES_CCACHE}")
  set(CMAKE_CXX_COMPILER_LAUNCHER "${_launcher}")
  set(CMAKE_C_COMPILER_LAUNCHER "${_launcher}")
endif()
add_compile_options("-ffile-prefix-map=${PROJECT_SOURCE_DIR}/=")
