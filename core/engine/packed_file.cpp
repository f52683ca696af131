// A file is: the fixed head (Head), the table (a checksum a chunk, then the blocks' sizes), the key, zeros up to a huge
// page's border, and the blocks, each at a page's border. All numbers are this machine's own.
#include "core/engine/packed_file.hpp"

#include <fmt/core.h>
#include <sys/mman.h>
#include <xxhash.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/base/atomic_file.hpp"
#include "core/base/error.hpp"

namespace nacelle {
namespace {

namespace fs = std::filesystem;

constexpr char kMagic[16] = {'n', 'a', 'c', 'e', 'l', 'l', 'e', '-', 'p', 'a', 'c', 'k', 'e', 'd', '-', '1'};
constexpr std::uint64_t kChunk = 4u << 20;  // that has a checksum of its own, and is one thread's work
constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kBlocksAt = 2u << 20;  // their start is a multiple: the kernel can map huge pages
constexpr std::uint64_t kMaxKey = 1u << 20, kMaxBlocks = 1u << 24;

struct Head {
  char magic[16];
  std::uint64_t checksum;  // of everything from here to the key's end
  std::uint64_t file_size;
  std::uint64_t blocks_at;
  std::uint64_t chunk_count;
  std::uint64_t block_count;
  std::uint64_t key_size;
};
constexpr std::uint64_t kCheckedFrom = offsetof(Head, file_size);

std::uint64_t head_size(const Head& head) {
  return sizeof head + 8 * (head.chunk_count + head.block_count) + head.key_size;
}

Head make_head(std::string_view key, std::span<const nacelle_packed_block> blocks) {
  std::uint64_t bytes = 0;
  for (const nacelle_packed_block& block : blocks) bytes += round_up(block.size, kPage);
  Head head{};
  std::memcpy(head.magic, kMagic, sizeof kMagic);
  head.chunk_count = round_up(bytes, kChunk) / kChunk;
  head.block_count = blocks.size();
  head.key_size = key.size();
  head.blocks_at = round_up(head_size(head), kBlocksAt);
  head.file_size = head.blocks_at + bytes;
  return head;
}

// Writes bytes one after the other and notes the checksum of every chunk.
class ChunkWriter {
 public:
  ChunkWriter(AtomicFile& file, std::uint64_t offset) : file_(file), offset_(offset), state_(XXH3_createState()) {
    if (!state_) throw std::bad_alloc();
    XXH3_64bits_reset(state_.get());
  }
  void append(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const auto part = bytes.first(std::min<std::uint64_t>(bytes.size(), kChunk - filled_));
      file_.write(offset_, part);
      XXH3_64bits_update(state_.get(), part.data(), part.size());
      offset_ += part.size();
      filled_ += part.size();
      if (filled_ == kChunk) end_chunk();
      bytes = bytes.subspan(part.size());
    }
  }
  std::vector<std::uint64_t> finish() {
    if (filled_) end_chunk();
    return std::move(checksums_);
  }

 private:
  void end_chunk() {
    checksums_.push_back(XXH3_64bits_digest(state_.get()));
    XXH3_64bits_reset(state_.get());
    filled_ = 0;
  }
  struct Free {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  AtomicFile& file_;
  std::uint64_t offset_, filled_ = 0;
  std::unique_ptr<XXH3_state_t, Free> state_;
  std::vector<std::uint64_t> checksums_;
};

std::string_view name_of(std::string_view line) { return line.substr(0, line.find('=')); }

// The name of the first line that two keys do not share.
std::string first_difference(std::string_view one, std::string_view other) {
  while (!one.empty() || !other.empty()) {
    const std::string_view a = one.substr(0, one.find('\n')), b = other.substr(0, other.find('\n'));
    if (a != b) return std::string(name_of(b.empty() ? a : b));
    one.remove_prefix(std::min(one.size(), a.size() + 1));
    other.remove_prefix(std::min(other.size(), b.size() + 1));
  }
  return "key";
}

[[noreturn]] void fail_corrupt(const fs::path& path, const std::string& what) {
  throw Error(ErrorKind::kCorrupt, path.string() + ": " + what);
}

// The head, once everything it says fits the file.
Head read_head(const fs::path& path, std::span<const std::byte> file) {
  Head head;
  if (file.size() < sizeof head) fail_corrupt(path, "shorter than a head");
  std::memcpy(&head, file.data(), sizeof head);
  if (std::memcmp(head.magic, kMagic, sizeof kMagic) != 0) fail_corrupt(path, "not a packed model of this version");
  if (head.file_size != file.size())
    fail_corrupt(path, fmt::format("has {} bytes, {} were written", file.size(), head.file_size));
  if (head.key_size > kMaxKey || head.block_count > kMaxBlocks || head.chunk_count > file.size() / kChunk + 1 ||
      head_size(head) > head.blocks_at || head.blocks_at > file.size() || head.blocks_at % kBlocksAt != 0 ||
      head.chunk_count != round_up(file.size() - head.blocks_at, kChunk) / kChunk)
    fail_corrupt(path, "its head is damaged");
  if (XXH3_64bits(file.data() + kCheckedFrom, head_size(head) - kCheckedFrom) != head.checksum)
    fail_corrupt(path, "its head is damaged");
  return head;
}

// Reads all chunks, which also brings them into memory and maps them.
bool chunks_are_sound(std::span<const std::byte> bytes, const std::byte* checksums, ThreadTeam& team) {
  std::atomic<bool> sound = true;
  team.parallel_for(round_up(bytes.size(), kChunk) / kChunk, 1, [&](std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t i = begin; i < end && sound.load(std::memory_order_relaxed); ++i) {
      const auto chunk = bytes.subspan(i * kChunk, std::min(kChunk, bytes.size() - i * kChunk));
      // One call for what else is a fault a few pages; where the kernel is older than 5.14 the faults do it.
      ::madvise(const_cast<std::byte*>(chunk.data()), chunk.size(), MADV_POPULATE_READ);
      std::uint64_t expected;
      std::memcpy(&expected, checksums + 8 * i, sizeof expected);
      if (XXH3_64bits(chunk.data(), chunk.size()) != expected) sound.store(false, std::memory_order_relaxed);
    }
  });
  return sound.load();
}

}  // namespace

void write_packed_file(const fs::path& path, std::string_view key, std::span<const nacelle_packed_block> blocks) {
  Head head = make_head(key, blocks);
  if (key.size() > kMaxKey || blocks.size() > kMaxBlocks)
    throw Error(ErrorKind::kResource, fmt::format("{}: cannot be written: {} blocks under a key of {} bytes",
                                                  path.string(), blocks.size(), key.size()));
  AtomicFile file(path);
  file.reserve(head.file_size);
  ChunkWriter writer(file, head.blocks_at);
  constexpr std::byte kZeros[kPage] = {};
  for (const nacelle_packed_block& block : blocks) {
    writer.append({static_cast<const std::byte*>(block.data), block.size});
    writer.append(std::span(kZeros).first(round_up(block.size, kPage) - block.size));
  }
  const std::vector<std::uint64_t> checksums = writer.finish();
  std::vector<std::byte> start(head_size(head));
  std::byte* at = start.data() + sizeof head;
  const auto put = [&at](const void* data, std::size_t size) {
    std::memcpy(at, data, size);
    at += size;
  };
  put(checksums.data(), 8 * checksums.size());
  for (const nacelle_packed_block& block : blocks) put(&block.size, 8);
  put(key.data(), key.size());
  std::memcpy(start.data(), &head, sizeof head);
  head.checksum = XXH3_64bits(start.data() + kCheckedFrom, start.size() - kCheckedFrom);
  std::memcpy(start.data(), &head, sizeof head);
  file.write(0, start);
  file.commit();
}

std::unique_ptr<SettlingMap> open_packed_file(const fs::path& path, std::string_view key,
                                              std::span<nacelle_packed_block> blocks, ThreadTeam& team) {
  std::error_code code;
  const fs::file_type type = fs::status(path, code).type();
  if (type == fs::file_type::not_found) return nullptr;
  if (type != fs::file_type::regular) fail_corrupt(path, "not a regular file");  // opening a pipe would wait
  auto file = std::make_unique<SettlingMap>(path);
  const std::span<const std::byte> bytes = file->bytes();
  const Head head = read_head(path, bytes);
  const std::byte* const checksums = bytes.data() + sizeof head;
  const std::byte* const sizes = checksums + 8 * head.chunk_count;
  const std::string_view own(reinterpret_cast<const char*>(sizes + 8 * head.block_count), head.key_size);
  if (own != key)
    throw Error(ErrorKind::kUnsupported,
                fmt::format("{}: was made with another {}", path.string(), first_difference(own, key)));
  std::uint64_t offset = head.blocks_at;
  bool fits = head.block_count == blocks.size();
  for (std::size_t i = 0; fits && i < blocks.size(); ++i) {
    fits = std::memcmp(sizes + 8 * i, &blocks[i].size, 8) == 0 && blocks[i].size <= bytes.size() - offset;
    if (fits) offset += std::min(round_up(blocks[i].size, kPage), bytes.size() - offset);
  }
  if (!fits) throw Error(ErrorKind::kUnsupported, path.string() + ": holds blocks of other sizes");
  if (!chunks_are_sound(bytes.subspan(head.blocks_at), checksums, team)) fail_corrupt(path, "its contents are damaged");
  offset = head.blocks_at;
  for (nacelle_packed_block& block : blocks) {
    block.data = bytes.data() + offset;
    offset += round_up(block.size, kPage);
  }
  return file;
}

}  // namespace nacelle
