#include "core/plugin_host/isolation/rows.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>

#include "core/base/error.hpp"
#include "core/base/log.hpp"

namespace nacelle::isolation {
namespace {

constexpr std::uint32_t kValue = 0;  // the weight itself; else the role of a companion

bool same_file(const std::string& path, RowPlace& place) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return false;
  const bool same =
      (place.device == 0 && place.inode == 0) || (place.device == status.st_dev && place.inode == status.st_ino);
  place.device = status.st_dev;
  place.inode = status.st_ino;
  return same;
}

}  // namespace

// ---- The host -----------------------------------------------------------------------------------------------------

RowServer::RowServer(Arena& arena, const nacelle_host& host, const nacelle_weight_source& source)
    : arena_(arena), host_(host), source_(source) {
  note_mappings();
}

RowServer::~RowServer() {
  for (const auto& [offset, size] : copies_) arena_.give(offset, size);
}

// The model's files were mapped before a backend is asked to pack them. One that was replaced since reads as
// "... (deleted)" there, and is copied.
void RowServer::note_mappings() {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    unsigned long begin = 0, end = 0, offset = 0;
    int path = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx r%*3s %lx %*s %*s %n", &begin, &end, &offset, &path) < 3 || path == 0)
      continue;
    Mapping mapping{end, offset, line.substr(static_cast<std::size_t>(path)), 0, 0};
    RowPlace place;
    if (!mapping.path.starts_with('/') || !same_file(mapping.path, place)) continue;
    mapping.device = place.device;
    mapping.inode = place.inode;
    mappings_.emplace(begin, std::move(mapping));
  }
}

const RowServer::Mapping* RowServer::mapping_of(const void* data, std::uint64_t size, std::uint64_t& offset) const {
  const auto address = reinterpret_cast<std::uintptr_t>(data);
  auto found = mappings_.upper_bound(address);
  if (found == mappings_.begin()) return nullptr;
  --found;
  const Mapping& mapping = found->second;
  if (address + size > mapping.end) return nullptr;
  offset = mapping.offset + (address - found->first);
  return &mapping;
}

nacelle_status RowServer::answer(Function question, Reader& in, Writer& out) {
  switch (question) {
    case Function::kReadRows: return read(in, out);
    case Function::kReleaseRows: return release(in);
    case Function::kProgress: {
      const auto done = in.get<std::uint64_t>(), total = in.get<std::uint64_t>();
      return source_.progress ? source_.progress(source_.context, done, total) : nacelle_status{NACELLE_OK};
    }
    default: return NACELLE_UNIMPLEMENTED;
  }
}

nacelle_status RowServer::read(Reader& in, Writer& out) {
  const auto weight = in.get<std::uint32_t>(), role = in.get<std::uint32_t>();
  const auto begin = in.get<std::uint64_t>(), count = in.get<std::uint64_t>();
  const auto must_copy = in.get<std::uint32_t>();
  nacelle_weight_rows rows{};
  nacelle_error* error = nullptr;
  if (role != kValue && !source_.read_companion) return NACELLE_NOT_FOUND;
  const nacelle_status status =
      role == kValue ? source_.read(source_.context, weight, begin, count, &rows, &error)
                     : source_.read_companion(source_.context, weight, role, begin, count, &rows, &error);
  if (status != NACELLE_OK) {
    std::string text;
    if (error) {
      text = sdk::view(host_.error_message(host_.context, error));
      host_.error_destroy(host_.context, error);
    }
    throw sdk::Failure(status, text);
  }
  RowPlace place;
  place.size = rows.row_bytes * count;
  const Mapping* mapping = must_copy ? nullptr : mapping_of(rows.data, place.size, place.offset);
  std::string path;
  if (mapping) {
    path = mapping->path;
    place.device = mapping->device;
    place.inode = mapping->inode;
  } else {
    place.offset = arena_.take(place.size);
    copies_.emplace(place.offset, place.size);
    std::memcpy(arena_.at(place.offset), rows.data, place.size);
  }
  out.put(rows.row_bytes);
  out.put(rows.type);
  out.put(place);
  out.put_text(path);
  return NACELLE_OK;
}

nacelle_status RowServer::release(Reader& in) {
  const auto weight = in.get<std::uint32_t>();
  const auto begin = in.get<std::uint64_t>(), count = in.get<std::uint64_t>();
  for (const std::uint64_t offset : in.get_array<std::uint64_t>()) {
    const auto copy = copies_.find(offset);
    if (copy == copies_.end()) continue;
    arena_.give(copy->first, copy->second);
    copies_.erase(copy);
  }
  if (source_.release) source_.release(source_.context, weight, begin, count);
  return NACELLE_OK;
}

// ---- The plugin's process -------------------------------------------------------------------------------------------

nacelle_status Asker::ask(Function question, const std::function<void(Writer&)>& fill,
                          const std::function<void(Reader&)>& take) {
  const std::lock_guard lock(mutex_);
  Control& control = channel_.control();
  Writer out(channel_.room());
  fill(out);
  control.function = static_cast<std::uint32_t>(question);
  control.size = out.size();
  channel_.move(channel_.state(), kAsked);
  channel_.wait_while(kAsked);
  Reader in(channel_.message());
  const nacelle_status status = control.status;
  if (status != NACELLE_OK) {
    const std::string text(control.size ? in.get_text() : std::string_view());
    if (!text.empty()) throw sdk::Failure(status, text);
    return status;
  }
  if (take) take(in);
  return status;
}

nacelle_status Asker::try_ask(Function question, const std::function<void(Writer&)>& fill) noexcept {
  try {
    return ask(question, fill, {});
  } catch (const sdk::Failure& failure) {
    return failure.status();
  }
}

nacelle_status Asker::progress(std::uint64_t done, std::uint64_t total) noexcept {
  return try_ask(Function::kProgress, [&](Writer& out) {
    out.put(done);
    out.put(total);
  });
}

RowSource::RowSource(Asker& asker, const SharedMemory& memory, const nacelle_host& host)
    : asker_(asker), memory_(memory), host_(host), table_(sdk::make<nacelle_weight_source>()) {
  table_.context = this;
  table_.read = [](void* context, std::uint32_t weight, std::uint64_t begin, std::uint64_t count,
                   nacelle_weight_rows* rows, nacelle_error** error) {
    auto& self = *static_cast<RowSource*>(context);
    return sdk::guard(&self.host_, error, [&] { *rows = self.read(weight, kValue, begin, count); });
  };
  table_.read_companion = [](void* context, std::uint32_t weight, std::uint32_t role, std::uint64_t begin,
                             std::uint64_t count, nacelle_weight_rows* rows, nacelle_error** error) {
    auto& self = *static_cast<RowSource*>(context);
    return sdk::guard(&self.host_, error, [&] { *rows = self.read(weight, role, begin, count); });
  };
  table_.release = [](void* context, std::uint32_t weight, std::uint64_t begin, std::uint64_t count) {
    auto& self = *static_cast<RowSource*>(context);
    sdk::guard(&self.host_, nullptr, [&] { self.release(weight, begin, count); });
  };
  table_.progress = [](void* context, std::uint64_t done, std::uint64_t total) {
    return static_cast<RowSource*>(context)->asker_.progress(done, total);
  };
}

nacelle_weight_rows RowSource::read(std::uint32_t weight, std::uint32_t role, std::uint64_t begin,
                                    std::uint64_t count) {
  for (const std::uint32_t must_copy : {0u, 1u}) {
    nacelle_weight_rows rows{};
    Piece piece{begin, count, nullptr, {}};
    std::string path;
    const nacelle_status status = asker_.ask(
        Function::kReadRows,
        [&](Writer& out) {
          out.put(weight);
          out.put(role);
          out.put(begin);
          out.put(count);
          out.put(must_copy);
        },
        [&](Reader& in) {
          rows.row_bytes = in.get<std::uint64_t>();
          rows.type = in.get<nacelle_type>();
          piece.place = in.get<RowPlace>();
          path = in.get_text();
        });
    if (status != NACELLE_OK) throw sdk::Failure(status, "the host could not read a weight");
    const std::lock_guard lock(mutex_);
    if (path.empty()) {
      if (!SharedMemory::holds(piece.place.offset, piece.place.size))
        throw sdk::Failure(NACELLE_INTERNAL, "rows outside of the shared memory");
      rows.data = memory_.at(piece.place.offset);
    } else {
      piece.file = map(path, piece.place);
      if (!piece.file) continue;
      rows.data = piece.file->bytes().data() + piece.place.offset;
    }
    pieces_[weight].push_back(piece);
    return rows;
  }
  throw sdk::Failure(NACELLE_INTERNAL, "the host named a file where a copy was asked for");
}

// Null where it is not the file that the host has mapped. Under mutex_.
const MappedFile* RowSource::map(const std::string& path, const RowPlace& place) {
  auto found = files_.find(path);
  if (found == files_.end()) {
    RowPlace expected = place;
    if (!same_file(path, expected)) return nullptr;
    try {
      found = files_.emplace(path, MappedFile(path)).first;
    } catch (const Error& error) {
      log::debug("{}: copied by the host instead", error.what());
      return nullptr;
    }
  }
  const std::uint64_t size = found->second.bytes().size();
  return place.offset <= size && place.size <= size - place.offset ? &found->second : nullptr;
}

void RowSource::release(std::uint32_t weight, std::uint64_t begin, std::uint64_t count) {
  std::vector<std::uint64_t> copies;
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(pieces_[weight], [&](const Piece& piece) {
      if (piece.begin < begin || piece.begin + piece.count > begin + count) return false;
      if (piece.file)
        piece.file->release(piece.place.offset, piece.place.size);
      else
        copies.push_back(piece.place.offset);
      return true;
    });
  }
  asker_.ask(Function::kReleaseRows,
             [&](Writer& out) {
               out.put(weight);
               out.put(begin);
               out.put(count);
               out.put_array(copies.data(), copies.size());
             },
             {});
}

}  // namespace nacelle::isolation
