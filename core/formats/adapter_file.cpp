#include "core/formats/adapter_file.hpp"

#include <fmt/core.h>

#include <map>
#include <memory>
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
constexpr Naming kPeftEmbedding = {"base_model.model.", ".lora_embedding_A", ".lora_embedding_B", ".weight"};
constexpr std::string_view kGgufEmbedding = "token_embd.weight";

std::map<std::string, Halves> find_pairs(const fs::path& path, const std::vector<TensorInfo>& tensors,
                                         const Naming& naming) {
  std::map<std::string, Halves> pairs;
  for (const TensorInfo& tensor : tensors) {
    std::string_view name = tensor.name;
    const bool is_a = name.ends_with(naming.a);
    const std::size_t around = naming.prefix.size() + (is_a ? naming.a : naming.b).size();  // they may not share a dot
    if (!name.starts_with(naming.prefix) || (!is_a && !name.ends_with(naming.b)) || name.size() <= around)
      fail(path, ErrorKind::kUnsupported,
           fmt::format("tensor {}: is no half of a low-rank pair; expected {}NAME{} and {}NAME{}",
                       in_quotes(tensor.name), naming.prefix, naming.a, naming.prefix, naming.b));
    name.remove_prefix(naming.prefix.size());
    name.remove_suffix(is_a ? naming.a.size() : naming.b.size());
    const std::string target = std::string(name) + std::string(naming.rest);
    Halves& halves = pairs[target];
    (is_a ? halves.a : halves.b) = &tensor;
  }
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

std::vector<float> transposed(const std::vector<float>& matrix, std::uint64_t rows, std::uint64_t columns) {
  std::vector<float> result(matrix.size());
  for (std::uint64_t r = 0; r < rows; ++r)
    for (std::uint64_t c = 0; c < columns; ++c) result[c * rows + r] = matrix[r * columns + c];
  return result;
}

// How a pair lies in its file. An embedding's W [vocabulary, width] changes by (B A)^T; llama.cpp turns its A round.
enum class PairForm { kMatrix, kEmbedding, kTurnedEmbedding };  // A [rank, K]; [rank, V]; [V, rank]

void check_whole(const fs::path& path, const Halves& halves) {
  if (!halves.a || !halves.b)
    fail(path, ErrorKind::kCorrupt,
         fmt::format("tensor {}: the other half of its pair is missing",
                     in_quotes(halves.a ? halves.a->name : halves.b->name)));
}

void check_rank(const fs::path& path, const TensorInfo& a, std::uint64_t rank) {
  if (rank > kMaxRank)
    fail(path, ErrorKind::kUnsupported,
         fmt::format("tensor {}: has rank {}, expected {} at most", in_quotes(a.name), rank, kMaxRank));
}

// All but the scale.
LowRankChange read_pair(const fs::path& path, const std::string& target, const Halves& halves,
                        const std::vector<MappedFile>& files, PairForm form) {
  check_whole(path, halves);
  const TensorInfo &a = *halves.a, &b = *halves.b;
  const bool turned = form == PairForm::kTurnedEmbedding;
  const std::size_t rank_axis = turned ? 1 : 0;
  if (a.shape.size() != 2 || b.shape.size() != 2 || a.shape[rank_axis] != b.shape[1] || b.shape[1] == 0)
    fail(
        path, ErrorKind::kCorrupt,
        fmt::format("tensors {} and {}: expected shapes {} and [outputs, rank], found {} and {}", in_quotes(a.name),
                    in_quotes(b.name), turned ? "[vocabulary, rank]" : "[rank, inputs]", shape_text(a), shape_text(b)));
  check_rank(path, a, b.shape[1]);
  LowRankChange change;
  change.tensor = target;
  change.rank = static_cast<std::uint32_t>(b.shape[1]);
  change.rows = b.shape[0];
  change.columns = a.shape[1 - rank_axis];
  change.a = decode(path, a, files[a.file].bytes());
  change.b = decode(path, b, files[b.file].bytes());
  if (turned) change.a = transposed(change.a, change.columns, change.rank);
  change.of_embedding = form != PairForm::kMatrix;
  if (change.of_embedding) change.transpose();
  return change;
}

// The pairs of a tensor of experts, A [experts, rank, inputs] and B [experts, outputs, rank]; all but the scale.
std::vector<LowRankChange> read_experts(const fs::path& path, const std::string& target, const Halves& halves,
                                        const std::vector<MappedFile>& files) {
  check_whole(path, halves);
  const TensorInfo &a = *halves.a, &b = *halves.b;
  if (a.shape.size() != 3 || b.shape.size() != 3 || a.shape[0] != b.shape[0] || a.shape[1] != b.shape[2] ||
      a.elements() == 0 || b.elements() == 0 || a.shape[0] > UINT32_MAX)
    fail(
        path, ErrorKind::kCorrupt,
        fmt::format("tensors {} and {}: expected shapes [experts, rank, inputs] and [experts, outputs, rank], found {} "
                    "and {}",
                    in_quotes(a.name), in_quotes(b.name), shape_text(a), shape_text(b)));
  check_rank(path, a, a.shape[1]);
  const std::vector<float> all_a = decode(path, a, files[a.file].bytes());
  const std::vector<float> all_b = decode(path, b, files[b.file].bytes());
  std::vector<LowRankChange> changes(a.shape[0]);
  for (std::size_t expert = 0; expert < changes.size(); ++expert) {
    LowRankChange& change = changes[expert];
    change.tensor = target;
    change.expert = static_cast<std::uint32_t>(expert);
    change.experts = static_cast<std::uint32_t>(changes.size());
    change.rank = static_cast<std::uint32_t>(a.shape[1]);
    change.rows = b.shape[1];
    change.columns = a.shape[2];
    const auto own_a = all_a.begin() + static_cast<std::ptrdiff_t>(expert * change.rank * change.columns);
    const auto own_b = all_b.begin() + static_cast<std::ptrdiff_t>(expert * change.rank * change.rows);
    change.a.assign(own_a, own_a + static_cast<std::ptrdiff_t>(change.rank * change.columns));
    change.b.assign(own_b, own_b + static_cast<std::ptrdiff_t>(change.rank * change.rows));
  }
  return changes;
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
  AdapterFile adapter{path, ModelFormat::kGguf, std::string(text("general.architecture")), {}, {}, {}, {}, {}};
  for (const auto& [target, halves] : find_pairs(path, file.tensors(), kGgufNaming)) {
    const PairForm form = target == kGgufEmbedding ? PairForm::kTurnedEmbedding : PairForm::kMatrix;
    const bool of_experts = halves.a && halves.a->shape.size() == 3;
    std::vector<LowRankChange> changes = of_experts ? read_experts(path, target, halves, file.files())
                                                    : std::vector{read_pair(path, target, halves, file.files(), form)};
    for (LowRankChange& change : changes) {
      change.scale = *alpha == 0 ? 1 : static_cast<float>(*alpha / change.rank);  // 0 means that no scale was wanted
      adapter.changes.push_back(std::move(change));
    }
  }
  return adapter;
}

// ---- PEFT ----------------------------------------------------------------------------------------------------------

// "base_model.model.X.base_layer.weight" or "base_model.model.X.weight".
std::optional<WholeTensor> whole_tensor(const TensorInfo& tensor) {
  constexpr std::string_view kBase = ".base_layer.weight", kWhole = ".weight";
  std::string_view name = tensor.name;
  if (!name.starts_with(kPeftNaming.prefix) || !name.ends_with(kWhole) || name.ends_with(kPeftNaming.a) ||
      name.ends_with(kPeftNaming.b) || name.size() <= kPeftNaming.prefix.size() + kWhole.size())
    return std::nullopt;
  name.remove_prefix(kPeftNaming.prefix.size());
  name.remove_suffix(name.ends_with(kBase) ? kBase.size() : kWhole.size());
  return WholeTensor{std::string(name) + std::string(kWhole), tensor};
}

// "X.experts" of a pair that target_parameters have made for one of the module's tensors: for a second one, X.experts
// has been wrapped already. Empty for all other pairs: those of a single expert have its number behind the module.
std::string module_of_experts(std::string_view module) {
  constexpr std::string_view kWrapped = ".base_layer", kModule = ".experts";
  while (module.ends_with(kWrapped)) module.remove_suffix(kWrapped.size());
  return module.ends_with(kModule) ? std::string(module) : std::string();
}

ExpertsChange read_module(const fs::path& path, std::string module, const Halves& halves, const MappedFile& file) {
  check_whole(path, halves);
  const TensorInfo &a = *halves.a, &b = *halves.b;
  if (a.shape.size() != 2 || b.shape.size() != 2 || a.shape[0] != b.shape[1] || a.elements() == 0)
    fail(path, ErrorKind::kCorrupt,
         fmt::format(
             "tensors {} and {}: expected shapes [experts * rank, inputs] and [outputs, experts * rank], found {} "
             "and {}",
             in_quotes(a.name), in_quotes(b.name), shape_text(a), shape_text(b)));
  return {std::move(module),
          a.name,
          a.shape[1],
          b.shape[0],
          a.shape[0],
          decode(path, a, file.bytes()),
          decode(path, b, file.bytes())};
}

AdapterFile read_peft(const fs::path& folder) {
  const auto peft = std::make_shared<const PeftConfig>(folder / "adapter_config.json");
  const PeftConfig& config = *peft;
  const fs::path path = folder / "adapter_model.safetensors";
  if (!fs::exists(path))
    fail(folder, ErrorKind::kNotFound, "the folder holds no adapter_model.safetensors (PyTorch files are not read)");
  AdapterFile adapter{folder, ModelFormat::kHuggingFace, {}, {}, {}, {}, {}, {}};
  adapter.scale = [peft](std::string_view name, std::uint32_t rank) { return peft->scale(name, rank); };
  adapter.files.emplace_back(path);
  std::vector<TensorInfo> halves_of[2];  // of matrices and of embeddings
  for (const TensorInfo& tensor : read_safetensors_header(path, adapter.files[0].bytes())) {
    const bool of_embedding = tensor.name.ends_with(kPeftEmbedding.a) || tensor.name.ends_with(kPeftEmbedding.b);
    if (auto whole = of_embedding ? std::nullopt : whole_tensor(tensor))
      adapter.whole.push_back(*std::move(whole));
    else
      halves_of[of_embedding].push_back(tensor);
  }
  for (const bool of_embedding : {false, true}) {
    const Naming& naming = of_embedding ? kPeftEmbedding : kPeftNaming;
    for (const auto& [target, halves] : find_pairs(path, halves_of[of_embedding], naming)) {
      const std::string name = target.substr(0, target.size() - naming.rest.size());
      if (std::string module = of_embedding ? "" : module_of_experts(name); !module.empty()) {
        adapter.experts.push_back(read_module(path, std::move(module), halves, adapter.files[0]));
        continue;
      }
      LowRankChange change =
          read_pair(path, target, halves, adapter.files, of_embedding ? PairForm::kEmbedding : PairForm::kMatrix);
      change.scale = config.scale(config.targets_parameter(target) ? target : name, change.rank);
      if (config.transposed() && !of_embedding) change.transpose();
      adapter.changes.push_back(std::move(change));
    }
  }
  return adapter;
}

}  // namespace

void LowRankChange::transpose() {
  std::vector<float> turned = transposed(b, rows, rank);
  b = transposed(a, rank, columns);
  a = std::move(turned);
  std::swap(rows, columns);
}

AdapterFile read_adapter(const fs::path& path) {
  if (!fs::exists(path)) fail(path, ErrorKind::kNotFound, "no such file or folder");
  if (fs::is_directory(path) && !fs::exists(path / "adapter_config.json"))
    fail(path, ErrorKind::kNotFound,
         "the folder holds no adapter_config.json: expected a GGUF adapter, or a folder as PEFT writes it");
  AdapterFile adapter = fs::is_directory(path) ? read_peft(path) : read_gguf(path);
  if (adapter.changes.empty() && adapter.experts.empty()) fail(path, ErrorKind::kCorrupt, "holds no low-rank pair");
  return adapter;
}

}  // namespace nacelle
