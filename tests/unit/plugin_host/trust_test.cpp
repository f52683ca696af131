// Files and folders that others could have written, and files that are no libraries at all.
#include "core/plugin_host/trust.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "tests/unit/plugin_host/plugin_folder.hpp"

using namespace nacelle;
using nacelle::test::contains;
using nacelle::test::PluginFolder;

namespace fs = std::filesystem;

TEST_CASE("what other users can write is not loaded") {
  PluginFolder folder, elsewhere;
  const auto path = folder.add("good");
  CHECK(distrust(path).empty());

  const auto refused = [&](const std::string& part) {
    const PluginRecord record = folder.only();
    INFO(record.reason);
    CHECK(record.status == PluginStatus::kRefused);
    CHECK(contains(record.reason, part));
  };
  for (const mode_t mode : {0777, 0775, 01777}) {
    ::chmod(folder.path().c_str(), mode);
    refused("other users can write to this folder (mode ");
    refused("chmod go-w '" + folder.path().string() + "'");
  }
  ::chmod(folder.path().c_str(), 0755);
  ::chmod(path.c_str(), 0757);
  refused("other users can write to this file (mode 0757)");
  ::chmod(path.c_str(), 0644);
  CHECK(folder.only().status == PluginStatus::kLoaded);
}

TEST_CASE("a symbolic link is judged by its target and the target's folder") {
  PluginFolder folder, elsewhere;
  const auto target = elsewhere.add("other");
  fs::create_symlink(target, folder.path() / "link.so");
  CHECK(folder.only().status == PluginStatus::kLoaded);
  ::chmod(elsewhere.path().c_str(), 0777);
  CHECK(contains(folder.only().reason, elsewhere.path().string() + ": other users can write to this folder"));
  ::chmod(elsewhere.path().c_str(), 0755);
  ::chmod(target.c_str(), 0666);
  CHECK(contains(folder.only().reason, "link.so") == false);
  CHECK(contains(folder.only().reason, target.string() + ": other users can write to this file"));
  fs::remove(target);
  CHECK(folder.only().status == PluginStatus::kRefused);
}

TEST_CASE("a file of another user is not loaded") {
  if (::geteuid() != 0) {
    WARN("skipped: giving a file away needs root");
    return;
  }
  PluginFolder folder;
  const auto path = folder.add("good");
  REQUIRE(::chown(path.c_str(), 12345, 12345) == 0);
  CHECK(contains(folder.only().reason, "belongs to user 12345"));
  REQUIRE(::chown(path.c_str(), 0, 0) == 0);
  REQUIRE(::chown(folder.path().c_str(), 12345, 12345) == 0);
  CHECK(contains(folder.only().reason, "belongs to user 12345"));
}

TEST_CASE("files that are no plugins are refused without harm") {
  PluginFolder folder;
  const auto path = folder.path() / "x.so";
  SECTION("text") {
    std::ofstream(path) << "#!/bin/sh\necho I am no library\n";
    CHECK(contains(folder.only().reason, "is not an ELF file"));
  }
  SECTION("empty") {
    std::ofstream(path).flush();
    CHECK(contains(folder.only().reason, "is not an ELF file"));
  }
  SECTION("a folder") {
    fs::create_directory(path);
    CHECK(contains(folder.only().reason, "not a regular file"));
  }
  SECTION("a pipe, which would block its reader") {
    REQUIRE(::mkfifo(path.c_str(), 0644) == 0);
    CHECK(contains(folder.only().reason, "not a regular file"));
  }
  SECTION("a library without a manifest") {
    fs::copy_file(fs::path(NACELLE_ABI_PLUGINS).parent_path() / "tests/abi/libabi_absent_driver.so", path);
    ::chmod(path.c_str(), 0755);
    CHECK(contains(folder.only().reason, "without a Nacelle manifest"));
  }
}

TEST_CASE("a library cut off anywhere is refused, also where its section table is gone") {
  PluginFolder whole, folder;
  const auto source = whole.add("good");
  std::ifstream file(source, std::ios::binary);
  std::string bytes(std::istreambuf_iterator<char>(file), {});
  const auto path = folder.path() / "cut.so";
  // e_shoff, e_shnum and e_shstrndx: as in a stripped library, where the manifest is found by its segment.
  std::string stripped = bytes;
  stripped.replace(0x28, 8, 8, '\0');
  stripped.replace(0x3c, 4, 4, '\0');
  std::ofstream(path, std::ios::binary) << stripped;
  ::chmod(path.c_str(), 0755);
  CHECK(folder.only().status == PluginStatus::kLoaded);
  bool by_segment = false;
  for (const std::string& image : {bytes, stripped}) {
    for (std::size_t size = 0; size < image.size() * 3 / 4; size += 509) {
      fs::remove(path);  // never change a file that is mapped
      std::ofstream(path, std::ios::binary) << image.substr(0, size);
      ::chmod(path.c_str(), 0755);
      const PluginRecord record = folder.only();
      INFO(size << " bytes: " << record.reason);
      // Without sections the segments may well be complete before the file's end; then it is a whole library.
      if (truncated_segments(path).empty()) continue;
      CHECK(record.status == PluginStatus::kRefused);
      by_segment = by_segment || contains(record.reason, "the file is truncated: segment");
    }
  }
  CHECK(by_segment);
}
