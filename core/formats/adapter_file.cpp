#include "core/formats/adapter_file.hpp"

#include <fmt/core.h>

#include <map>
#include <nacelle/block_formats.hpp>
#include <optional>
#include <utility>

#include "core/formats/file_error.hpp"
#include "core/formats/peft_config.hpp"

namespace nacelle {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxRank = 4096;

[[noreturn]] void fail(const fs::path& path, ErrorKind kind, const std::string& what) {
  throw Error(kind, path.string() + ": " + what);
}

std::string shape_text(const TensorInfo& tensor) {
  std::string text = "[";
  for (const std::uint64_t extent : tensor.shape) text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  return text + "]";
}

// The two halves of a pair, by the tensor that they change.
struct Halves {
  const TensorInfo* a = nullptr;
  const TensorInfo* b = nullptr;
};

// What a format calls them.
struct Naming {
  std::string_view prefix, a, b;  // before and behind the tensor's name
  std::string_view rest;          // what the model's tensor has behind that name
};
constexpr Naming kGgufNaming = {"", ".lora_a", ".lora_b", ""};
constexpr Naming kPeftNaming = {"base_model.model.", ".lora_A.weight", ".lora_B.weight", ".weight"};

std::map<std::string, Halves> find_pairs(const fs::path& path, const std::vector<TensorInfo>& tensors,
                                         const Naming& naming) {
  std::map<std::string, Halves> pairs;
  for (const TensorInfo& tensor : tensors) {
    std::string_view name = tensor.name;
    const bool is_a = name.ends_with(naming.a);
    if (!name.starts_with(naming.prefix) || (!is_a && !name.ends_with(naming.b)))
      fail(path, ErrorKind::kUnsupported,
           fmt::format("tensor {}: is no half of a low-rank pair; expected {}NAME{} and {}NAME{}",
                       in_quotes(tensor.name), naming.prefix, naming.a, naming.prefix, naming.b));
    name.remove_prefix(naming.prefix.size());
    name.remove_suffix(is_a ? naming.a.size() : naming.b.size());
    Halves& halves = pairs[std::string(name) + std::string(naming.rest)];
    (is_a ? halves.a : halves.b) = &tensor;
  }
  if (pairs.empty()) fail(path, ErrorKind::kCorrupt, "holds no low-rank pair");
  return pairs;
}

std::vector<float> decode(const fs::path& path, const TensorInfo& tensor, std::span<const std::byte> file) {
  const bool known = tensor.type == NACELLE_TYPE_F32 || tensor.type == NACELLE_TYPE_F16 ||
                     tensor.type == NACELLE_TYPE_BF16 || block_format(tensor.type);
  if (!known)
    fail(path, ErrorKind::kUnsupported,
         fmt::format("tensor {}: is of type {}; expected F32, F16, BF16 or a quantised type", in_quotes(tensor.name),
                     type_info(tensor.type) ? type_info(tensor.type)->name : "unknown"));
  std::vector<float> values(tensor.elements());
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(file.data() + tensor.offset);
  decode_row(tensor.type, bytes, values.size(), values.data());
  return values;
}

// All but the scale.
LowRankChange read_pair(const fs::path& path, const std::string& target, const Halves& halves,
                        const std::vector<MappedFile>& files) {
  if (!halves.a || !halves.b)
    fail(path, ErrorKind::kCorrupt,
         fmt::format("tensor {}: the other half of its pair is missing",
                     in_quotes(halves.a ? halves.a->name : halves.b->name)));
  const TensorInfo &a = *halves.a, &b = *halves.b;
  if (a.shape.size() != 2 || b.shape.size() != 2 || a.shape[0] != b.shape[1] || a.shape[0] == 0)
    fail(path, ErrorKind::kCorrupt,
         fmt::format("tensors {} and {}: expected shapes [rank, inputs] and [outputs, rank], found {} and {}",
                     in_quotes(a.name), in_quotes(b.name), shape_text(a), shape_text(b)));
  if (a.shape[0] > kMaxRank)
    fail(path, ErrorKind::kUnsupported,
         fmt::format("tensor {}: has rank {}, expected {} at most", in_quotes(a.name), a.shape[0], kMaxRank));
  LowRankChange change;
  change.tensor = target;
  change.rank = static_cast<std::uint32_t>(a.shape[0]);
  change.rows = b.shape[0];
  change.columns = a.shape[1];
  change.a = decode(path, a, files[a.file].bytes());
  change.b = decode(path, b, files[b.file].bytes());
  return change;
}

// ---- GGUF ----------------------------------------------------------------------------------------------------------

template <class T>
std::optional<T> value_of(const ConfigValue* value) {
  if (!value) return std::nullopt;
  const T* typed = std::get_if<T>(value);
  return typed ? std::optional(*typed) : std::nullopt;
}

std::optional<double> number_of(const ConfigValue* value) {
  if (const auto integer = value_of<std::int64_t>(value)) return static_cast<double>(*integer);
  return value_of<double>(value);
}

AdapterFile read_gguf(const fs::path& path) {
  const GgufFile file(path);
  const auto text = [&](const char* key) { return value_of<std::string_view>(file.find(key)).value_or(""); };
  if (text("general.type") != "adapter")
    fail(path, ErrorKind::kInvalidArgument,
         fmt::format("is no adapter: key 'general.type' is {}, expected 'adapter'", in_quotes(text("general.type"))));
  if (text("adapter.type") != "lora")
    fail(path, ErrorKind::kUnsupported,
         fmt::format("key 'adapter.type' is {}, expected 'lora'", in_quotes(text("adapter.type"))));
  if (file.find("adapter.alora.invocation_tokens"))
    fail(path, ErrorKind::kUnsupported, "is an activated LoRA (adapter.alora.invocation_tokens): expected plain LoRA");
  const auto alpha = number_of(file.find("adapter.lora.alpha"));
  if (!alpha) fail(path, ErrorKind::kCorrupt, "key 'adapter.lora.alpha': expected a number");
  AdapterFile adapter{path, ModelFormat::kGguf, std::string(text("general.architecture")), {}};
  for (const auto& [target, halves] : find_pairs(path, file.tensors(), kGgufNaming)) {
    LowRankChange change = read_pair(path, target, halves, file.files());
    change.scale = *alpha == 0 ? 1 : static_cast<float>(*alpha / change.rank);  // 0 means that no scale was wanted
    adapter.changes.push_back(std::move(change));
  }
  return adapter;
}

// ---- PEFT ----------------------------------------------------------------------------------------------------------

std::vector<float> transposed(const std::vector<float>& matrix, std::uint64_t rows, std::uint64_t columns) {
  std::vector<float> result(matrix.size());
  for (std::uint64_t r = 0; r < rows; ++r)
    for (std::uint64_t c = 0; c < columns; ++c) result[c * rows + r] = matrix[r * columns + c];
  return result;
}

// (B A)^T = A^T B^T
void transpose(LowRankChange& change) {
  std::vector<float> a = transposed(change.b, change.rows, change.rank);
  change.b = transposed(change.a, change.rank, change.columns);
  change.a = std::move(a);
  std::swap(change.rows, change.columns);
}

AdapterFile read_peft(const fs::path& folder) {
  const PeftConfig config(folder / "adapter_config.json");
  const fs::path path = folder / "adapter_model.safetensors";
  if (!fs::exists(path))
    fail(folder, ErrorKind::kNotFound, "the folder holds no adapter_model.safetensors (PyTorch files are not read)");
  std::vector<MappedFile> files;
  files.emplace_back(path);
  const auto tensors = read_safetensors_header(path, files[0].bytes());
  AdapterFile adapter{folder, ModelFormat::kHuggingFace, {}, {}};
  for (const auto& [target, halves] : find_pairs(path, tensors, kPeftNaming)) {
    LowRankChange change = read_pair(path, target, halves, files);
    change.scale = config.scale(target.substr(0, target.size() - kPeftNaming.rest.size()), change.rank);
    if (config.transposed()) transpose(change);
    adapter.changes.push_back(std::move(change));
  }
  return adapter;
}

}  // namespace

AdapterFile read_adapter(const fs::path& path) {
  if (!fs::exists(path)) fail(path, ErrorKind::kNotFound, "no such file or folder");
  if (!fs::is_directory(path)) return read_gguf(path);
  if (!fs::exists(path / "adapter_config.json"))
    fail(path, ErrorKind::kNotFound,
         "the folder holds no adapter_config.json: expected a GGUF adapter, or a folder as PEFT writes it");
  return read_peft(path);
}

}  // namespace nacelle
