// How a model's weights reach an isolated plugin that packs them. Where the host would hand out a place in a mapped
// file, the plugin's process maps the same file and reads there; what the host has computed (a transposed or a scaled
// weight) is copied once, through shared memory.
#pragma once

#include <nacelle/backend.h>

#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "core/base/mapped_file.hpp"
#include "core/plugin_host/isolation/arena.hpp"
#include "core/plugin_host/isolation/process.hpp"
#include "core/plugin_host/isolation/wire.hpp"

namespace nacelle::isolation {

// Where rows lie: in a file, or in shared memory where `path` is empty.
struct RowPlace {
  std::uint64_t offset = 0, size = 0;
  std::uint64_t device = 0, inode = 0;  // of the file, so that another one of the name is noticed
};

// The host's side: lives while a backend prepares.
class RowServer : public Answers {
 public:
  RowServer(Arena& arena, const nacelle_host& host, const nacelle_weight_source& source);
  ~RowServer() override;
  nacelle_status answer(Function question, Reader& in, Writer& out) override;

 private:
  struct Mapping {
    std::uint64_t end, offset;
    std::string path;
    std::uint64_t device, inode;
  };
  nacelle_status read(Reader& in, Writer& out);
  nacelle_status release(Reader& in);
  const Mapping* mapping_of(const void* data, std::uint64_t size, std::uint64_t& offset) const;
  void note_mappings();

  Arena& arena_;
  const nacelle_host& host_;
  const nacelle_weight_source& source_;
  std::map<std::uint64_t, Mapping> mappings_;      // of files, by address, as they were at the start
  std::map<std::uint64_t, std::uint64_t> copies_;  // in the arena: offset -> size
};

// What asks the host from inside the plugin's process. Any thread.
class Asker {
 public:
  explicit Asker(Channel channel) : channel_(channel) {}
  // Throws sdk::Failure with the host's message, where there is one.
  nacelle_status ask(Function question, const std::function<void(Writer&)>& fill,
                     const std::function<void(Reader&)>& take);
  // For callers in the plugin's frames.
  nacelle_status try_ask(Function question, const std::function<void(Writer&)>& fill) noexcept;
  nacelle_status progress(std::uint64_t done, std::uint64_t total) noexcept;

 private:
  const Channel channel_;
  std::mutex mutex_;
};

// The plugin's side, behind a nacelle_weight_source of its own.
class RowSource {
 public:
  RowSource(Asker& asker, const SharedMemory& memory, const nacelle_host& host);
  const nacelle_weight_source* table() const noexcept { return &table_; }

 private:
  // Rows that are in use.
  struct Piece {
    std::uint64_t begin = 0, count = 0;
    const MappedFile* file = nullptr;  // null: a copy
    RowPlace place;
  };
  nacelle_weight_rows read(std::uint32_t weight, std::uint32_t role, std::uint64_t begin, std::uint64_t count);
  void release(std::uint32_t weight, std::uint64_t begin, std::uint64_t count);
  const MappedFile* map(const std::string& path, const RowPlace& place);

  Asker& asker_;
  const SharedMemory& memory_;
  const nacelle_host& host_;
  nacelle_weight_source table_;
  std::mutex mutex_;
  std::map<std::string, MappedFile> files_;
  std::map<std::uint32_t, std::vector<Piece>> pieces_;  // by weight
};

}  // namespace nacelle::isolation
