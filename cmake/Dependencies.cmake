# The libraries we stand on, all from Debian bookworm; `./dev deps` installs them. Of Boost the header-only parts are used, and
# Boost.Context in tests.
find_package(Boost 1.81 REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(spdlog REQUIRED)
find_package(CLI11 REQUIRED)
find_package(Threads REQUIRED)
if(NACELLE_TESTS)
  find_package(Catch2 2.13 REQUIRED)
endif()

# Neither package ships a CMake file on Debian. The static archives keep the program free of two run-time dependencies.
function(nacelle_find_static name header library)
  find_path(${name}_INCLUDE ${header} REQUIRED)
  find_library(${name}_ARCHIVE ${library} REQUIRED)
  add_library(${name} INTERFACE)
  target_include_directories(${name} SYSTEM INTERFACE ${${name}_INCLUDE})
  target_link_libraries(${name} INTERFACE ${${name}_ARCHIVE})
endfunction()
nacelle_find_static(pcre2 pcre2.h libpcre2-8.a)
nacelle_find_static(utf8proc utf8proc.h libutf8proc.a)
target_compile_definitions(pcre2 INTERFACE PCRE2_CODE_UNIT_WIDTH=8 PCRE2_STATIC)
target_compile_definitions(utf8proc INTERFACE UTF8PROC_STATIC)
