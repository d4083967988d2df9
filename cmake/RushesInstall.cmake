# The CMake package: `cmake --install <build> --component development --prefix <where>`, then in another project
#
#   find_package(rushes 0.1 REQUIRED)                 # with Python_EXECUTABLE naming a Python that has pyarrow 26.0.x
#   target_link_libraries(program rushes::rushes)
#   #include "rushes/api/server.h"
#
# Installed are the static libraries, the public headers (api/, and of chunk/, query/ and client/ what api/ speaks in) and these
# modules, which find Arrow and gRPC again on the machine of the other project.

include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(_installed proto chunk rrd store query catalog wire server client api log lz4 openssl sqlite3)
list(TRANSFORM _installed PREPEND rushes_)
set(_targets "")
foreach(_target IN LISTS _installed)
  if(TARGET ${_target})
    string(REGEX REPLACE "^rushes_" "" _name ${_target})
    set_target_properties(${_target} PROPERTIES EXPORT_NAME ${_name})
    list(APPEND _targets ${_target})
  endif()
endforeach()

# A build narrowed by RUSHES_FOLDERS is for work on those folders, not for installing.
if(NOT TARGET rushes_api OR SKBUILD)
  return()
endif()

set(_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/rushes")
install(
  TARGETS ${_targets}
  EXPORT rushesTargets
  ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT development)
install(EXPORT rushesTargets NAMESPACE rushes:: DESTINATION "${_package_dir}" COMPONENT development)
foreach(_folder api chunk query)
  install(
    DIRECTORY "${PROJECT_SOURCE_DIR}/src/rushes/${_folder}"
    DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/rushes"
    COMPONENT development
    FILES_MATCHING
    PATTERN "*.h"
    PATTERN "*_internal*" EXCLUDE)
endforeach()
# What a connection can do; how it is made is private.
install(
  FILES "${PROJECT_SOURCE_DIR}/src/rushes/client/connection.h" "${PROJECT_SOURCE_DIR}/src/rushes/client/event_stream.h"
  DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/rushes/client"
  COMPONENT development)
configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/rushesConfig.cmake.in" "${PROJECT_BINARY_DIR}/rushesConfig.cmake"
                              INSTALL_DESTINATION "${_package_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/rushesConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(
  FILES "${PROJECT_BINARY_DIR}/rushesConfig.cmake" "${PROJECT_BINARY_DIR}/rushesConfigVersion.cmake"
        "${PROJECT_SOURCE_DIR}/cmake/RushesArrow.cmake" "${PROJECT_SOURCE_DIR}/cmake/RushesGrpc.cmake"
  DESTINATION "${_package_dir}"
  COMPONENT development)
