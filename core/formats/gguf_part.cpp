// Reads one GGUF file. Nothing in it is trusted: see the limits below and the check beside each read.
#include "core/formats/gguf_part.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <numeric>
#include <optional>
#include <unordered_set>

#include "core/formats/file_error.hpp"

namespace nacelle {
namespace {

static_assert(std::endian::native == std::endian::little, "values are copied from little-endian files as they are");

// Far above any real model, and low enough to bound what a hostile file takes in memory.
constexpr std::uint64_t kMaxKeys = 1 << 16;
constexpr std::uint64_t kMaxTensors = 1 << 20;
constexpr std::uint64_t kMaxKeyBytes = (1 << 16) - 1;  // the format's own limit
constexpr std::uint64_t kMaxNameBytes = 256;           // the format says 64; some writers go beyond
constexpr std::uint64_t kMaxArrayElements = 1 << 25;   // in all arrays of a file
constexpr std::uint64_t kMaxAlignment = 1 << 20;
constexpr int kMaxNesting = 4;
constexpr std::uint32_t kMaxGgufRank = 4;

enum ValueType : std::uint32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64,
};
// Bytes that one element takes at the least: a string its length, an array its type and count.
constexpr std::uint8_t kElementBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};

// Walks the bytes; knows what is being read, for the messages.
class Cursor {
 public:
  Cursor(const std::filesystem::path& path, std::span<const std::byte> bytes) : path_(path), bytes_(bytes) {}

  // "key 'general.name'", prefixed to the fields named below; `element` is the index inside an array.
  void set_subject(std::string subject) { subject_ = std::move(subject); }
  void set_element(std::optional<std::uint64_t> element) { element_ = element; }

  std::uint64_t position() const { return position_; }
  std::uint64_t remaining() const { return bytes_.size() - position_; }
  std::span<const std::byte> since(std::uint64_t start) const { return bytes_.subspan(start, position_ - start); }

  [[noreturn]] void fail(std::uint64_t at, std::string_view field, const std::string& what,
                         ErrorKind kind = ErrorKind::kCorrupt) const {
    std::string where = subject_;
    if (element_) where += " element " + std::to_string(*element_);
    fail_at(path_, where.empty() ? std::string(field) : where + " " + std::string(field), at, what, kind);
  }

  void need(std::uint64_t size, std::string_view field) const {
    if (size <= remaining()) return;
    fail(position_, field,
         "needs " + std::to_string(size) + " bytes, but the file ends after " + std::to_string(remaining()));
  }

  void skip(std::uint64_t size, std::string_view field) {
    need(size, field);
    position_ += size;
  }

  template <typename T>
  T read(std::string_view field) {
    need(sizeof(T), field);
    T value;
    std::memcpy(&value, bytes_.data() + position_, sizeof(T));
    position_ += sizeof(T);
    return value;
  }

  // A count or length, at most `limit`.
  std::uint64_t read_count(std::string_view field, std::uint64_t limit) {
    const std::uint64_t at = position_;
    const auto count = read<std::uint64_t>(field);
    if (count > limit) {
      fail(at, field, "is " + std::to_string(count) + ", expected at most " + std::to_string(limit));
    }
    return count;
  }

  std::string_view read_string(std::string_view field, std::uint64_t limit) {
    const std::uint64_t size = read_count(field, limit);
    need(size, field);
    const auto* text = reinterpret_cast<const char*>(bytes_.data() + position_);
    position_ += size;
    return {text, size};
  }

 private:
  const std::filesystem::path& path_;
  std::span<const std::byte> bytes_;
  std::uint64_t position_ = 0;
  std::string subject_;
  std::optional<std::uint64_t> element_;
};

template <typename Stored>
std::int64_t read_integer(Cursor& cursor) {
  const std::uint64_t at = cursor.position();
  const auto value = cursor.read<Stored>("value");
  if constexpr (std::is_same_v<Stored, std::uint64_t>) {
    if (value > std::numeric_limits<std::int64_t>::max()) {
      cursor.fail(at, "value", "is " + std::to_string(value) + ", expected at most 2^63 - 1");
    }
  }
  return static_cast<std::int64_t>(value);
}

bool read_bool(Cursor& cursor) {
  const std::uint64_t at = cursor.position();
  const auto value = cursor.read<std::uint8_t>("value");
  if (value > 1) cursor.fail(at, "value", "is " + std::to_string(value) + ", expected a bool of 0 or 1");
  return value == 1;
}

// Calls `use` with the function that reads one element of `type` (a checked id, not kArray).
template <typename Use>
auto with_reader(std::uint32_t type, Use use) -> decltype(use(read_bool)) {
  switch (type) {
    case kUint8: return use(read_integer<std::uint8_t>);
    case kInt8: return use(read_integer<std::int8_t>);
    case kUint16: return use(read_integer<std::uint16_t>);
    case kInt16: return use(read_integer<std::int16_t>);
    case kUint32: return use(read_integer<std::uint32_t>);
    case kInt32: return use(read_integer<std::int32_t>);
    case kUint64: return use(read_integer<std::uint64_t>);
    case kInt64: return use(read_integer<std::int64_t>);
    case kFloat32: return use([](Cursor& cursor) -> double { return cursor.read<float>("value"); });
    case kFloat64: return use([](Cursor& cursor) { return cursor.read<double>("value"); });
    case kBool: return use(read_bool);
    default:
      return use([](Cursor& cursor) { return cursor.read_string("length", std::numeric_limits<std::int64_t>::max()); });
  }
}

std::uint32_t read_type(Cursor& cursor, const char* field) {
  const std::uint64_t at = cursor.position();
  const auto type = cursor.read<std::uint32_t>(field);
  if (type >= std::size(kElementBytes)) cursor.fail(at, field, "is " + std::to_string(type) + ", expected 0 to 12");
  return type;
}

class PartReader {
 public:
  PartReader(const std::filesystem::path& path, std::span<const std::byte> bytes, GgufPart& part)
      : part_(part), cursor_(path, bytes), file_size_(bytes.size()) {}

  void run() {
    read_version();
    const std::uint64_t tensor_count = cursor_.read_count("tensor count", kMaxTensors);
    const std::uint64_t key_count = cursor_.read_count("key count", kMaxKeys);
    for (std::uint64_t i = 0; i < key_count; ++i) read_key(i);
    for (std::uint64_t i = 0; i < tensor_count; ++i) read_tensor(i);
    cursor_.set_subject({});
    place_tensors();
  }

 private:
  void read_version() {
    const auto magic = cursor_.read<std::uint32_t>("magic");
    if (std::memcmp(&magic, "GGUF", 4) != 0) {
      const std::string found = in_quotes({reinterpret_cast<const char*>(&magic), 4});
      cursor_.fail(0, "magic", "is " + found + ", expected 'GGUF': not a GGUF file");
    }
    part_.version = cursor_.read<std::uint32_t>("version");
    if (part_.version == 2 || part_.version == 3) return;
    // A big-endian file has the same magic, and its version in the upper bytes.
    const bool big_endian = (part_.version & 0xffff) == 0 && part_.version != 0;
    cursor_.fail(4, "version",
                 big_endian ? std::string("the file is big-endian, expected little-endian: convert it")
                            : "is " + std::to_string(part_.version) + ", expected 2 or 3",
                 ErrorKind::kUnsupported);
  }

  void read_key(std::uint64_t index) {
    cursor_.set_subject("key " + std::to_string(index));
    const std::uint64_t at = cursor_.position();
    const std::string_view key = cursor_.read_string("name", kMaxKeyBytes);
    if (key.empty()) cursor_.fail(at, "name", "is empty");
    cursor_.set_subject("key " + in_quotes(key));
    if (part_.metadata.contains(key)) cursor_.fail(at, "name", "occurs a second time");
    const std::uint64_t type_at = cursor_.position();
    const std::uint32_t type = read_type(cursor_, "type");
    if (key == "general.alignment") {
      if (type != kUint32) cursor_.fail(type_at, "type", "is " + std::to_string(type) + ", expected 4 (uint32)");
      alignment_at_ = cursor_.position();
    }
    GgufValue value = type == kArray ? GgufValue(read_array(0))
                                     : with_reader(type, [&](auto read) -> GgufValue { return read(cursor_); });
    if (key == "general.alignment") set_alignment(std::get<std::int64_t>(value));
    part_.metadata.emplace(key, std::move(value));
    part_.stored.push_back({key, cursor_.since(type_at)});
  }

  void set_alignment(std::int64_t value) {
    alignment_ = static_cast<std::uint64_t>(value);
    if (std::has_single_bit(alignment_) && alignment_ >= 8 && alignment_ <= kMaxAlignment) return;
    cursor_.fail(
        alignment_at_, "value",
        "is " + std::to_string(value) + ", expected a power of two from 8 to " + std::to_string(kMaxAlignment));
  }

  GgufArray read_array(int depth) {
    const std::uint32_t type = read_type(cursor_, "element type");
    const std::uint64_t count_at = cursor_.position();
    const std::uint64_t count = cursor_.read_count("element count", cursor_.remaining());
    if (count > cursor_.remaining() / kElementBytes[type]) {
      cursor_.fail(count_at, "element count",
                   "is " + std::to_string(count) + ", but only " + std::to_string(cursor_.remaining()) +
                       " bytes follow it in the file");
    }
    array_elements_ += count;
    if (array_elements_ > kMaxArrayElements) {
      cursor_.fail(count_at, "element count",
                   "brings the file's array elements above " + std::to_string(kMaxArrayElements),
                   ErrorKind::kUnsupported);
    }
    if (type == kArray) return read_nested(count, count_at, depth);
    return with_reader(type, [&](auto read) -> GgufArray {
      std::vector<decltype(read(cursor_))> values;
      values.reserve(count);
      for (std::uint64_t i = 0; i < count; ++i) {
        cursor_.set_element(i);
        values.push_back(read(cursor_));
      }
      cursor_.set_element({});
      return {.values = std::move(values)};
    });
  }

  GgufArray read_nested(std::uint64_t count, std::uint64_t count_at, int depth) {
    if (depth == kMaxNesting) {
      cursor_.fail(count_at, "element count", "belongs to arrays nested deeper than " + std::to_string(kMaxNesting),
                   ErrorKind::kUnsupported);
    }
    for (std::uint64_t i = 0; i < count; ++i) read_array(depth + 1);
    GgufArray array;
    array.nested = true;
    return array;
  }

  void read_tensor(std::uint64_t index) {
    cursor_.set_subject("tensor " + std::to_string(index));
    const std::uint64_t at = cursor_.position();
    const std::string_view name = cursor_.read_string("name", kMaxNameBytes);
    if (name.empty()) cursor_.fail(at, "name", "is empty");
    cursor_.set_subject("tensor " + in_quotes(name));
    if (!names_.insert(name).second) cursor_.fail(at, "name", "occurs a second time");

    TensorInfo tensor;
    tensor.name = name;
    const std::uint64_t rank_at = cursor_.position();
    const auto rank = cursor_.read<std::uint32_t>("rank");
    if (rank == 0 || rank > kMaxGgufRank)
      cursor_.fail(rank_at, "rank", "is " + std::to_string(rank) + ", expected 1 to 4");
    const std::uint64_t shape_at = cursor_.position();
    for (std::uint32_t i = 0; i < rank; ++i) tensor.shape.push_back(cursor_.read<std::uint64_t>("shape"));
    std::ranges::reverse(tensor.shape);  // the file has the innermost extent first
    tensor.type = read_tensor_type();
    tensor.size = checked_size(tensor, shape_at);
    offset_at_.push_back(cursor_.position());
    tensor.offset = cursor_.read<std::uint64_t>("offset");
    part_.tensors.push_back(std::move(tensor));
  }

  nacelle_type read_tensor_type() {
    const std::uint64_t at = cursor_.position();
    const auto id = cursor_.read<std::uint32_t>("type");
    const GgmlType* known = ggml_type(id);
    if (!known) cursor_.fail(at, "type", "is " + std::to_string(id) + ", which GGUF does not define");
    if (known->type == NACELLE_TYPE_INVALID) {
      cursor_.fail(at, "type",
                   std::string("is ") + known->name + ", which is not supported: convert it to another type",
                   ErrorKind::kUnsupported);
    }
    return known->type;
  }

  std::uint64_t checked_size(const TensorInfo& tensor, std::uint64_t shape_at) const {
    if (std::ranges::find(tensor.shape, 0u) != tensor.shape.end()) {
      cursor_.fail(shape_at, "shape", "has an extent of 0, expected 1 or more");
    }
    const TypeInfo& type = *type_info(tensor.type);
    if (tensor.shape.back() % type.block_elements != 0) {
      cursor_.fail(shape_at, "shape",
                   "has rows of " + std::to_string(tensor.shape.back()) + " elements, expected a multiple of " +
                       std::to_string(type.block_elements) + " for " + type.name);
    }
    const auto size = tensor_bytes(tensor.type, tensor.shape);
    if (!size) cursor_.fail(shape_at, "shape", "has more than 2^63 - 1 elements or bytes");
    return *size;
  }

  // Turns offsets inside the data section into offsets inside the file, and checks that each tensor has its own bytes.
  void place_tensors() {
    const std::uint64_t header = cursor_.position();
    const std::uint64_t start = (header + alignment_ - 1) & ~(alignment_ - 1);
    const std::uint64_t available = start < file_size_ ? file_size_ - start : 0;
    for (std::size_t i = 0; i < part_.tensors.size(); ++i) {
      TensorInfo& tensor = part_.tensors[i];
      if (tensor.offset % alignment_ != 0) {
        fail_offset(i, "is not a multiple of the alignment " + std::to_string(alignment_));
      }
      if (tensor.offset > available || tensor.size > available - tensor.offset) {
        fail_offset(i, "its " + std::to_string(tensor.size) + " bytes end beyond the " + std::to_string(available) +
                           " bytes of tensor data in the file: it is damaged or was not downloaded to its end");
      }
      tensor.offset += start;
    }
    std::vector<std::size_t> order(part_.tensors.size());
    std::iota(order.begin(), order.end(), 0);
    std::ranges::sort(order, {}, [&](std::size_t i) { return part_.tensors[i].offset; });
    for (std::size_t i = 1; i < order.size(); ++i) {
      const TensorInfo& before = part_.tensors[order[i - 1]];
      if (before.offset + before.size > part_.tensors[order[i]].offset) {
        fail_offset(order[i], "overlaps tensor " + in_quotes(before.name));
      }
    }
  }

  [[noreturn]] void fail_offset(std::size_t index, const std::string& what) {
    cursor_.set_subject("tensor " + in_quotes(part_.tensors[index].name));
    cursor_.fail(offset_at_[index], "offset", what);
  }

  GgufPart& part_;
  Cursor cursor_;
  std::uint64_t file_size_;
  std::uint64_t alignment_ = 32;
  std::uint64_t alignment_at_ = 0;
  std::uint64_t array_elements_ = 0;
  std::unordered_set<std::string_view> names_;
  std::vector<std::uint64_t> offset_at_;  // where each tensor's offset stands in the header
};

}  // namespace

GgufPart read_gguf_part(const std::filesystem::path& path) {
  GgufPart part;
  part.file = MappedFile(path);
  parse_gguf(path, part.file.bytes(), part);
  return part;
}

void parse_gguf(const std::filesystem::path& path, std::span<const std::byte> bytes, GgufPart& part) {
  PartReader(path, bytes, part).run();
}

}  // namespace nacelle
