// The packed cache's file: what comes back is what was written, or nothing.
#include "core/engine/packed_file.hpp"

#include <sys/mman.h>
#include <sys/stat.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <numeric>
#include <thread>

#include "core/base/error.hpp"
#include "tests/support/processes.hpp"
#include "tests/tuning/kept_files.hpp"

using namespace nacelle;
using namespace nacelle::test;

namespace {

constexpr std::size_t kTaken = 64 << 10;
const std::string kKey = "model=a\nbuild=1\n";

// Blocks of some sizes around a page, and one of several chunks.
std::vector<std::string> some_blocks(char first) {
  std::vector<std::string> blocks;
  for (const std::size_t size : {1u, 4096u, 5000u, 0u, 9u << 20}) {
    blocks.emplace_back(size, '\0');
    std::iota(blocks.back().begin(), blocks.back().end(), first++);
  }
  return blocks;
}

void write(const fs::path& path, const std::vector<std::string>& blocks, const std::string& key = kKey) {
  std::vector<nacelle_packed_block> raw;
  for (const std::string& block : blocks) raw.push_back({block.data(), block.size()});
  write_packed_file(path, key, raw);
}

// "" where all blocks came back as they are in `blocks`.
std::string read(const fs::path& path, const std::vector<std::string>& blocks, const std::string& key = kKey) {
  ThreadTeam team(2);  // gone before a test forks
  std::vector<nacelle_packed_block> raw;
  for (const std::string& block : blocks) raw.push_back({nullptr, block.size()});
  try {
    const auto file = open_packed_file(path, key, raw, team);
    if (!file) return "none";
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      if (reinterpret_cast<std::uintptr_t>(raw[i].data) % 64) return "unaligned";
      if (std::memcmp(raw[i].data, blocks[i].data(), blocks[i].size()) != 0) return "wrong bytes";
    }
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

void overwrite(const fs::path& path, std::size_t offset, char change) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekg(static_cast<std::streamoff>(offset));
  const auto byte = static_cast<char>(file.get() ^ change);
  file.seekp(static_cast<std::streamoff>(offset));
  file.put(byte);
}

}  // namespace

TEST_CASE("packed blocks come back under their key, and under no other") {
  const Cache cache;
  const fs::path path = cache.folder / "below/file";
  const auto blocks = some_blocks(1);
  CHECK(read(path, blocks) == "none");
  write(path, blocks);
  CHECK(read(path, blocks) == "");
  CHECK_THAT(read(path, blocks, "model=a\nbuild=2\n"), Catch::EndsWith("was made with another build"));
  CHECK_THAT(read(path, blocks, "model=b\nbuild=1\n"), Catch::EndsWith("was made with another model"));
  CHECK_THAT(read(path, blocks, kKey + "more=1\n"), Catch::EndsWith("was made with another more"));
  auto fewer = blocks, longer = blocks;
  fewer.pop_back();
  longer.back() += "x";
  CHECK_THAT(read(path, fewer), Catch::Contains("other sizes"));
  CHECK_THAT(read(path, longer), Catch::Contains("other sizes"));
  write(path, some_blocks(7));  // a second one takes its place
  CHECK(read(path, some_blocks(7)) == "");
  CHECK(std::distance(fs::directory_iterator(path.parent_path()), {}) == 1);
}

TEST_CASE("a damaged packed file is told and not used, wherever the damage lies") {
  const Cache cache;
  const fs::path path = cache.folder / "file";
  const auto blocks = some_blocks(1);
  write(path, blocks);
  const auto size = fs::file_size(path);
  const std::size_t head = 64 + 8 * 3 + 8 * 5 + kKey.size();
  for (std::size_t at = 0; at < head; ++at) {
    INFO("byte " << at);
    overwrite(path, at, 1);
    CHECK(read(path, blocks) != "");
    overwrite(path, at, 1);
  }
  for (const std::size_t at : {std::size_t{2} << 20, (std::size_t{2} << 20) + 12345, std::size_t{8} << 20}) {
    INFO("byte " << at);
    overwrite(path, at, 64);
    CHECK_THAT(read(path, blocks), Catch::EndsWith("its contents are damaged"));
    overwrite(path, at, 64);
  }
  CHECK(read(path, blocks) == "");
  for (const std::uintmax_t cut : {size - 1, size / 2, std::uintmax_t{2} << 20, std::uintmax_t{70}, std::uintmax_t{10},
                                   std::uintmax_t{0}, size + 1}) {
    write(path, blocks);
    fs::resize_file(path, cut);
    INFO("cut to " << cut);
    CHECK(read(path, blocks) != "");
  }
  fs::remove(path);
  fs::create_directory(path);
  CHECK_THAT(read(path, blocks), Catch::Contains("not a regular file"));
  CHECK_THROWS_WITH(write(path, blocks), Catch::Contains("cannot be written"));
  fs::remove(path);
  REQUIRE(mkfifo(path.c_str(), 0600) == 0);  // must not be waited for
  CHECK_THAT(read(path, blocks), Catch::Contains("not a regular file"));
}

TEST_CASE("a packed file settles in memory under its readers, and may then be cut off") {
  const Cache cache;
  const fs::path path = cache.folder / "file";
  const auto blocks = some_blocks(3);
  write(path, blocks);
  ThreadTeam alone(1);
  std::vector<nacelle_packed_block> raw;
  for (const std::string& block : blocks) raw.push_back({nullptr, block.size()});
  const auto file = open_packed_file(path, kKey, raw, alone);
  REQUIRE(file);
  const auto sound = [&] {
    return std::equal(blocks.begin(), blocks.end(), raw.begin(), [](const std::string& one, const auto& other) {
      return std::memcmp(one.data(), other.data, one.size()) == 0;
    });
  };
  std::atomic<bool> settled = false;
  int passes = 0, wrong = 0;
  std::thread reader([&] {
    for (bool last = false; !last; ++passes) {
      last = settled.load();
      wrong += !sound();
    }
  });
  // Meanwhile others take address space, as that which the copy leaves behind.
  std::vector<char*> others;
  std::thread taker([&] {
    while (!settled.load() && others.size() < 20000) {
      void* other = mmap(nullptr, kTaken, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (other != MAP_FAILED) others.push_back(static_cast<char*>(other));
    }
  });
  file->settle({});
  CHECK(file->wait());
  settled = true;
  reader.join();
  taker.join();
  CHECK(passes > 0);
  CHECK(wrong == 0);
  for (char* other : others) {
    *other = 1;  // still there
    munmap(other, kTaken);
  }
  CHECK(content("/proc/self/maps").find(path.string()) == std::string::npos);
  fs::resize_file(path, 10);
  CHECK(sound());
}

TEST_CASE("processes that write one packed file at once leave a whole one, and readers never see less") {
  const Cache cache;
  const fs::path path = cache.folder / "file";
  const auto child = [&](char letter) {
    const std::vector<std::string> blocks(3, std::string(100000, letter));
    ThreadTeam alone(1);
    for (int i = 0; i < 20; ++i) {
      write(path, blocks);
      std::vector<nacelle_packed_block> raw(3, {nullptr, 100000});
      const auto file = open_packed_file(path, kKey, raw, alone);
      if (!file) return 1;
      for (const nacelle_packed_block& block : raw) {
        const auto* bytes = static_cast<const char*>(block.data);
        if (std::any_of(bytes, bytes + block.size, [&](char byte) { return byte != *bytes; })) return 1;
      }
    }
    return 0;
  };
  run_in_processes({'a', 'b', 'c'}, child);
  CHECK(cache.files().size() == 1);  // nothing half-written is left behind
}
