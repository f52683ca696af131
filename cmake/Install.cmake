# What `cmake --install` puts under a prefix: the program, its plugins (nacelle_add_plugin installs each), and the SDK. The
# program finds plugins and templates from its own place, so a prefix may be moved.
if(TARGET nacelle)
  install(TARGETS nacelle RUNTIME DESTINATION bin)
endif()

set(package lib/cmake/NacelleSDK)
set_target_properties(nacelle_sdk PROPERTIES EXPORT_NAME sdk)
set_target_properties(nacelle_runtime PROPERTIES EXPORT_NAME runtime)
set_target_properties(nacelle_reference PROPERTIES EXPORT_NAME reference)
set_target_properties(nacelle_conformance PROPERTIES EXPORT_NAME conformance)
install(TARGETS nacelle_sdk nacelle_runtime nacelle_reference nacelle_conformance EXPORT NacelleSDKTargets
  ARCHIVE DESTINATION lib/nacelle RUNTIME DESTINATION bin)
install(EXPORT NacelleSDKTargets NAMESPACE NacelleSDK:: DESTINATION ${package})
include(CMakePackageConfigHelpers)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/NacelleSDKConfigVersion.cmake VERSION 1.0.0
  COMPATIBILITY SameMajorVersion)
install(FILES ${CMAKE_BINARY_DIR}/NacelleSDKConfigVersion.cmake sdk/cmake/NacelleSDKConfig.cmake
  sdk/cmake/NacellePlugin.cmake sdk/cmake/plugin.map DESTINATION ${package})

install(DIRECTORY sdk/include/nacelle DESTINATION include)
install(DIRECTORY backends/reference/ DESTINATION include/nacelle/reference FILES_MATCHING PATTERN *.hpp)
install(DIRECTORY sdk/runtime/ DESTINATION include/nacelle/runtime FILES_MATCHING PATTERN *.hpp)
install(DIRECTORY sdk/template sdk/examples DESTINATION share/nacelle)
install(DIRECTORY docs DESTINATION share/doc/nacelle)
install(FILES README.md CHANGELOG.md CONTRIBUTING.md LICENSE DESTINATION share/doc/nacelle)
install(CODE "execute_process(COMMAND \${CMAKE_COMMAND}
  \"-DFOLDER=\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/share/doc/nacelle\" -P \"${PROJECT_SOURCE_DIR}/cmake/DocLinks.cmake\"
  COMMAND_ERROR_IS_FATAL ANY)")
