// MappedFile: contents, release, and the three ways a path can be unusable.
#include "core/base/mapped_file.hpp"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "core/base/error.hpp"

using nacelle::Error;
using nacelle::ErrorKind;
using nacelle::MappedFile;

namespace {

std::filesystem::path write_file(const std::string& name, const std::string& text) {
  const auto path = std::filesystem::temp_directory_path() / name;
  std::ofstream(path, std::ios::binary) << text;
  return path;
}

ErrorKind kind_of(const std::filesystem::path& path) {
  try {
    MappedFile file(path);
  } catch (const Error& error) {
    REQUIRE(std::string(error.what()).find(path.string()) != std::string::npos);
    return error.kind();
  }
  FAIL("no error for " << path);
  return ErrorKind::kInternal;
}

}  // namespace

TEST_CASE("a mapped file shows its bytes, also after release and move") {
  const std::string text(10000, 'x');
  MappedFile file(write_file("nacelle_mapped", text));
  REQUIRE(file.bytes().size() == text.size());
  file.release(0, text.size());
  MappedFile moved = std::move(file);
  REQUIRE(static_cast<char>(moved.bytes()[9999]) == 'x');
  REQUIRE(file.bytes().empty());
}

TEST_CASE("a path that cannot be mapped is named in the error") {
  CHECK(kind_of("/nonexistent/nacelle") == ErrorKind::kNotFound);
  CHECK(kind_of(std::filesystem::temp_directory_path()) == ErrorKind::kCorrupt);
  CHECK(kind_of(write_file("nacelle_empty", "")) == ErrorKind::kCorrupt);
}
