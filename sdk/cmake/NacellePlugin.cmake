# nacelle_add_plugin(NAME KIND backend|architecture [APART] SOURCES ... [LIBRARIES ...] [INCLUDES ...])
# Builds libnacelle_backend_NAME.so or libnacelle_arch_NAME.so: hidden visibility, `nacelle_plugin_query` the only export.
# In Nacelle's own tree APART keeps it out of what the tests build: for plugins whose compiler is slow.
function(nacelle_add_plugin name)
  cmake_parse_arguments(arg "APART" "KIND" "SOURCES;LIBRARIES;INCLUDES" ${ARGN})
  if(arg_KIND STREQUAL "backend")
    set(target nacelle_backend_${name})
  elseif(arg_KIND STREQUAL "architecture")
    set(target nacelle_arch_${name})
  else()
    message(FATAL_ERROR "nacelle_add_plugin(${name}): KIND is 'backend' or 'architecture', not '${arg_KIND}'")
  endif()
  add_library(${target} MODULE ${arg_SOURCES})
  set_target_properties(${target} PROPERTIES
    CXX_VISIBILITY_PRESET hidden C_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
    LIBRARY_OUTPUT_DIRECTORY ${NACELLE_PLUGIN_DIRECTORY})
  target_include_directories(${target} PRIVATE ${arg_INCLUDES})
  target_link_libraries(${target} PRIVATE nacelle_sdk ${arg_LIBRARIES})
  # The build id is the plugin's content hash: kernel measurements of another build are not believed.
  target_link_options(${target} PRIVATE -Wl,--version-script=${NACELLE_SDK_CMAKE_DIR}/plugin.map -Wl,--build-id=sha1)
  set_property(TARGET ${target} APPEND PROPERTY LINK_DEPENDS ${NACELLE_SDK_CMAKE_DIR}/plugin.map)
  if(arg_APART AND TARGET nacelle_gpu_plugins)
    add_dependencies(nacelle_gpu_plugins ${target})
  elseif(TARGET nacelle_plugins)
    add_dependencies(nacelle_plugins ${target})
  endif()
  if(NOT NACELLE_SANITIZE)
    target_link_options(${target} PRIVATE -Wl,-z,defs)  # a plugin that needs a host symbol does not link
  endif()
endfunction()
set(NACELLE_SDK_CMAKE_DIR ${CMAKE_CURRENT_LIST_DIR} CACHE INTERNAL "")
