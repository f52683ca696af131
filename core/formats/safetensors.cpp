// The safetensors reader.
#include "core/formats/safetensors.hpp"

#include <algorithm>
#include <cstring>
#include <map>
#include <numeric>
#include <unordered_map>
#include <unordered_set>

#include "core/formats/file_error.hpp"
#include "core/formats/foreign_file.hpp"

namespace nacelle {
namespace {

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit
constexpr JsonLimits kHeaderLimits{.bytes = kMaxHeaderBytes, .nodes = 1 << 20, .depth = 8};
constexpr JsonLimits kIndexLimits{.bytes = kMaxHeaderBytes, .nodes = 1 << 20};
constexpr std::size_t kMaxRank = 8;
constexpr std::size_t kLengthBytes = 8;

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Reads the entries of one header.
class HeaderReader {
 public:
  HeaderReader(const std::filesystem::path& path, std::span<const std::byte> file) : path_(path), file_(file) {}

  std::vector<TensorInfo> run() {
    data_start_ = kLengthBytes + header_bytes();
    const std::string_view text = as_text(file_).substr(kLengthBytes, data_start_ - kLengthBytes);
    if (!text.starts_with('{')) fail_at(path_, "header", kLengthBytes, "does not begin with '{'");
    const JsonNode root = parse_json(path_, text, kLengthBytes, kHeaderLimits);
    for (const JsonNode& member : root.items) {
      if (!names_.insert(member.key).second) fail(member, "occurs a second time");
      if (member.key == "__metadata__") {
        check_metadata(member);
      } else {
        read_entry(member);
      }
    }
    check_places();
    return std::move(tensors_);
  }

 private:
  [[noreturn]] void fail(const JsonNode& entry, const std::string& what) const {
    fail_at(path_, "tensor " + in_quotes(entry.key), entry.offset, what);
  }

  std::uint64_t header_bytes() const {
    if (file_.size() < kLengthBytes) {
      fail_at(path_, "header length", 0, "needs 8 bytes, but the file has " + std::to_string(file_.size()));
    }
    std::uint64_t length;
    std::memcpy(&length, file_.data(), sizeof(length));
    if (length > kMaxHeaderBytes) {
      refuse_foreign_file(path_, file_);
      fail_at(path_, "header length", 0,
              "is " + std::to_string(length) + ", expected at most " + std::to_string(kMaxHeaderBytes));
    }
    if (length > file_.size() - kLengthBytes) {
      fail_at(path_, "header length", 0,
              "is " + std::to_string(length) + ", but only " + std::to_string(file_.size() - kLengthBytes) +
                  " bytes follow: the file is damaged or was not downloaded to its end");
    }
    return length;
  }

  void check_metadata(const JsonNode& node) const {
    const bool strings =
        std::ranges::all_of(node.items, [](const JsonNode& item) { return item.kind == JsonNode::Kind::kString; });
    if (node.kind != JsonNode::Kind::kObject || !strings) {
      fail_at(path_, "__metadata__", node.offset, "is no object of strings");
    }
  }

  void read_entry(const JsonNode& entry) {
    const JsonNode* dtype = entry.find("dtype");
    const JsonNode* shape = entry.find("shape");
    const JsonNode* offsets = entry.find("data_offsets");
    if (entry.kind != JsonNode::Kind::kObject || entry.items.size() != 3 || !dtype || !shape || !offsets) {
      fail(entry, "expected an object of dtype, shape and data_offsets");
    }
    TensorInfo tensor;
    tensor.name = entry.key;
    tensor.type = read_type(entry, *dtype);
    tensor.shape = read_integers(entry, *shape, kMaxRank);
    const auto range = read_integers(entry, *offsets, 2);
    if (range.size() != 2 || range[0] > range[1]) fail(entry, "data_offsets is not [begin, end]");
    const auto bytes = tensor_bytes(tensor.type, tensor.shape);
    if (!bytes) fail(entry, "shape has more than 2^63 - 1 elements or bytes");
    if (range[1] - range[0] != *bytes) {
      fail(entry, "data_offsets spans " + std::to_string(range[1] - range[0]) + " bytes, but dtype and shape take " +
                      std::to_string(*bytes));
    }
    tensor.offset = range[0];
    tensor.size = *bytes;
    offset_at_.push_back(offsets->offset);
    tensors_.push_back(std::move(tensor));
  }

  nacelle_type read_type(const JsonNode& entry, const JsonNode& dtype) const {
    const nacelle_type type = type_from_safetensors(dtype.text);
    if (dtype.kind == JsonNode::Kind::kString && type != NACELLE_TYPE_INVALID) return type;
    fail_at(path_, "tensor " + in_quotes(entry.key) + " dtype", dtype.offset,
            "is " + in_quotes(dtype.text) + ", expected F32, F16, BF16, F64, F8_E4M3, I8 to I64, U8, U32 or BOOL",
            ErrorKind::kUnsupported);
  }

  std::vector<std::uint64_t> read_integers(const JsonNode& entry, const JsonNode& list, std::size_t most) const {
    const bool valid = list.kind == JsonNode::Kind::kArray && list.items.size() <= most &&
                       std::ranges::all_of(list.items, [](const JsonNode& item) {
                         return item.kind == JsonNode::Kind::kInteger && item.integer >= 0;
                       });
    if (!valid) {
      fail_at(path_, "tensor " + in_quotes(entry.key) + " " + list.key, list.offset,
              "expected an array of at most " + std::to_string(most) + " integers from 0 to 2^63 - 1");
    }
    std::vector<std::uint64_t> values;
    for (const JsonNode& item : list.items) values.push_back(static_cast<std::uint64_t>(item.integer));
    return values;
  }

  // The format wants the data covered from its first byte to its last, with neither holes nor overlaps.
  void check_places() {
    const std::uint64_t available = file_.size() - data_start_;
    std::vector<std::size_t> order(tensors_.size());
    std::iota(order.begin(), order.end(), 0);
    std::ranges::sort(order, {}, [&](std::size_t i) { return std::pair(tensors_[i].offset, tensors_[i].size); });
    std::uint64_t end = 0;
    for (const std::size_t i : order) {
      TensorInfo& tensor = tensors_[i];
      const std::string field = "tensor " + in_quotes(tensor.name) + " data_offsets";
      if (tensor.offset != end) {
        fail_at(path_, field, offset_at_[i],
                "begins at " + std::to_string(tensor.offset) + ", expected " + std::to_string(end) +
                    ", where the tensor before it ends");
      }
      if (tensor.size > available - end) {
        fail_at(path_, field, offset_at_[i],
                "ends at " + std::to_string(end + tensor.size) + ", but the file has " + std::to_string(available) +
                    " bytes of tensor data: it is damaged or was not downloaded to its end");
      }
      end += tensor.size;
      tensor.offset += data_start_;
    }
    if (end != available) {
      fail_at(path_, "tensor data", data_start_ + end,
              "ends here by the header, but the file has " + std::to_string(available - end) + " bytes more");
    }
  }

  const std::filesystem::path& path_;
  std::span<const std::byte> file_;
  std::uint64_t data_start_ = 0;
  std::vector<TensorInfo> tensors_;
  std::vector<std::uint64_t> offset_at_;  // where each tensor's data_offsets stands in the header
  std::unordered_set<std::string> names_;
};

// Only files beside the index may be named: no other folder, and nothing hidden behind "..".
bool is_shard_name(const std::string& name) {
  return name.ends_with(".safetensors") && name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
}

// The only *.safetensors of the folder.
std::filesystem::path only_file(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> found;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".safetensors") found.push_back(entry.path());
  }
  if (found.size() == 1) return found[0];
  throw Error(ErrorKind::kNotFound,
              folder.string() + (found.empty() ? ": holds no *.safetensors file"
                                               : ": holds several *.safetensors files, but neither model.safetensors "
                                                 "nor model.safetensors.index.json says which belong together"));
}

}  // namespace

std::vector<TensorInfo> read_safetensors_header(const std::filesystem::path& path, std::span<const std::byte> file) {
  return HeaderReader(path, file).run();
}

JsonNode read_safetensors_index(const std::filesystem::path& path, std::span<const std::byte> file) {
  const JsonNode root = parse_json(path, as_text(file), 0, kIndexLimits);
  const JsonNode* map = root.find("weight_map");
  if (!map || map->kind != JsonNode::Kind::kObject) {
    fail_at(path, "weight_map", map ? map->offset : 0, "expected an object of tensor names and file names");
  }
  std::unordered_set<std::string_view> names;
  for (const JsonNode& entry : map->items) {
    const std::string field = "weight_map " + in_quotes(entry.key);
    if (!names.insert(entry.key).second) fail_at(path, field, entry.offset, "occurs a second time");
    if (entry.kind != JsonNode::Kind::kString || !is_shard_name(entry.text)) {
      fail_at(path, field, entry.offset,
              "is " + in_quotes(entry.text) + ", expected the name of a *.safetensors file beside the index");
    }
  }
  return *map;
}

Safetensors::Safetensors(const std::filesystem::path& folder) {
  const auto index = folder / "model.safetensors.index.json";
  if (std::filesystem::exists(folder / "model.safetensors")) {
    add_file(folder / "model.safetensors");
  } else if (std::filesystem::exists(index)) {
    add_shards(folder, index);
  } else {
    add_file(only_file(folder));
  }
}

void Safetensors::add_file(const std::filesystem::path& path) {
  files_.emplace_back(path);
  for (TensorInfo& tensor : read_safetensors_header(path, files_.back().bytes())) {
    tensor.file = static_cast<std::uint32_t>(files_.size() - 1);
    tensors_.push_back(std::move(tensor));
  }
}

void Safetensors::add_shards(const std::filesystem::path& folder, const std::filesystem::path& index) {
  const MappedFile index_file(index);
  const JsonNode weight_map = read_safetensors_index(index, index_file.bytes());
  std::map<std::string, std::uint32_t> shards;  // file name and its number in files_
  for (const JsonNode& entry : weight_map.items) shards.emplace(entry.text, 0);

  std::unordered_map<std::string, std::uint32_t> owners;  // tensor name and its shard
  for (auto& [name, number] : shards) {
    const auto path = folder / name;
    if (!std::filesystem::exists(path)) {
      throw Error(ErrorKind::kNotFound, path.string() + ": the shard is missing, but " + index.filename().string() +
                                            " names it: download it too");
    }
    number = static_cast<std::uint32_t>(files_.size());
    const std::size_t before = tensors_.size();
    add_file(path);
    for (std::size_t i = before; i < tensors_.size(); ++i) {
      if (owners.emplace(tensors_[i].name, number).second) continue;
      throw Error(ErrorKind::kCorrupt,
                  path.string() + ": tensor " + in_quotes(tensors_[i].name) + " is in an earlier shard too");
    }
  }
  for (const JsonNode& entry : weight_map.items) {
    const auto owner = owners.find(entry.key);
    if (owner != owners.end() && owner->second == shards[entry.text]) continue;
    fail_at(index, "weight_map " + in_quotes(entry.key), entry.offset,
            "names " + in_quotes(entry.text) + ", which holds no such tensor");
  }
}

}  // namespace nacelle
