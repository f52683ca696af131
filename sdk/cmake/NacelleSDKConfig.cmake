# find_package(NacelleSDK 1 REQUIRED) gives:
#   nacelle_add_plugin(...)      see NacellePlugin.cmake, beside this file
#   NacelleSDK::sdk              the headers; nacelle_add_plugin links it
#   NacelleSDK::reference        the reference backend as a library, which others are built on (nacelle/reference/backend.hpp)
#   NacelleSDK::runtime          graph builder, decompositions, manifest reader: for tools
#   NacelleSDK::conformance      the program nacelle-conformance, for add_test
#   NacelleSDK_BACKEND_ABI, NacelleSDK_ARCHITECTURE_ABI   "0.1": what a plugin built here is made for
# The package's version counts this interface of CMake; what decides at run time is the ABI, in the headers.
include(${CMAKE_CURRENT_LIST_DIR}/NacelleSDKTargets.cmake)
include(${CMAKE_CURRENT_LIST_DIR}/NacellePlugin.cmake)
file(READ ${CMAKE_CURRENT_LIST_DIR}/../../../include/nacelle/plugin.h nacelle_header)
foreach(kind BACKEND ARCHITECTURE)
  string(REGEX MATCH "NACELLE_${kind}_ABI_MAJOR ([0-9]+)u" ignored "${nacelle_header}")
  set(NacelleSDK_${kind}_ABI ${CMAKE_MATCH_1})
  string(REGEX MATCH "NACELLE_${kind}_ABI_MINOR ([0-9]+)u" ignored "${nacelle_header}")
  string(APPEND NacelleSDK_${kind}_ABI ".${CMAKE_MATCH_1}")
endforeach()
unset(nacelle_header)
