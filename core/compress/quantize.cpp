// Two passes over the tensors. The first writes: each chunk of rows is decoded, encoded by all threads, and put in its
// place. The second maps what was written and holds every row against its source. Memory is a chunk, whatever the
// model.
#include "core/compress/quantize.hpp"

#include <xxhash.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cmath>
#include <nacelle/block_formats.hpp>

#include "core/base/atomic_file.hpp"
#include "core/base/thread_team.hpp"
#include "core/compress/encode.hpp"
#include "core/formats/file_error.hpp"

namespace nacelle::compress {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kChunkElements = 4 << 20;  // 16 MB as f32
constexpr std::uint32_t kQuantizationVersion = 2;  // of the block layouts, as ggml counts them

// Importances by row: those of the expert that it belongs to.
class RowImportance {
 public:
  RowImportance(const SourceTensor& tensor, const Importance* importance) {
    const std::uint64_t matrices = tensor.shape.size() > 2 ? tensor.rows() / tensor.shape[tensor.shape.size() - 2] : 1;
    rows_ = tensor.rows() / matrices;
    if (!importance) return;
    for (std::uint64_t i = 0; i < matrices; ++i)
      means_.push_back(importance->channel_means(tensor.name, i, tensor.columns()));
    // What was scaled up here is scaled down on its way in.
    for (std::vector<float>& means : means_)
      for (std::size_t i = 0; i < std::min(means.size(), tensor.column_factors.size()); ++i)
        means[i] /= tensor.column_factors[i] * tensor.column_factors[i];
  }
  std::span<const float> of(std::uint64_t row) const {
    return means_.empty() ? std::span<const float>() : std::span<const float>(means_[row / rows_]);
  }

 private:
  std::uint64_t rows_;
  std::vector<std::vector<float>> means_;
};

std::vector<TensorPlan> plans_of(const SourceModel& model) {
  std::vector<TensorPlan> plans;
  for (const SourceTensor& tensor : model.tensors) plans.push_back({tensor.name, tensor.shape, tensor.type});
  return plans;
}

bool is_quantized(nacelle_type type) { return block_format(type) != nullptr; }

class Quantizer {
 public:
  Quantizer(SourceModel& model, const fs::path& out, const QuantizeOptions& options)
      : model_(model), out_(out), options_(options), team_(options.threads), types_(planned_types(model, options)) {}

  QuantizeResult run() {
    check_sources();
    GgufWriter& layout = model_.metadata;
    set_metadata(layout);
    for (std::size_t i = 0; i < types_.size(); ++i)
      layout.add_tensor(model_.tensors[i].name, types_[i], model_.tensors[i].shape);
    const std::vector<std::byte> header = layout.header();

    AtomicFile file(fs::absolute(out_));
    file.reserve(layout.file_size());
    file.write(layout.file_size() - 1, std::vector<std::byte>(1));  // the last tensor's padding
    file.write(0, header);
    start("quantizing");
    for (std::size_t i = 0; i < types_.size(); ++i) write(file, i);
    start("verifying");
    QuantizeResult result = verify(file.temporary());
    file.commit();
    return result;
  }

 private:
  void check_sources() const {
    for (std::size_t i = 0; i < types_.size(); ++i) {
      const SourceTensor& tensor = model_.tensors[i];
      if (options_.requantize || types_[i] == tensor.type || !is_quantized(tensor.type)) continue;
      std::string type = type_info(tensor.type)->name;
      const std::string said = "tensor " + in_quotes(tensor.name) + " is " + type;
      std::ranges::transform(type, type.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
      throw Error(ErrorKind::kInvalidArgument,
                  said +
                      " already, and quantizing it again loses more than quantizing once: start from the F16, BF16 "
                      "or F32 model, " +
                      (find_recipe(type) ? "keep it with --type " + type + ", " : "") + "or say --requantize",
                  "requantize");
    }
  }

  void set_metadata(GgufWriter& to) const {
    to.set("general.file_type", options_.recipe->file_type);
    to.set("general.quantization_version", kQuantizationVersion);
    if (!options_.importance) return;
    to.set("quantize.imatrix.file", options_.importance_file);
    if (!options_.importance->datasets.empty()) to.set("quantize.imatrix.dataset", options_.importance->datasets[0]);
    to.set("quantize.imatrix.entries_count", static_cast<std::uint32_t>(options_.importance->weights.size()));
    to.set("quantize.imatrix.chunks_count", options_.importance->chunks);
  }

  void start(const char* stage) {
    stage_ = stage;
    done_ = 0;
  }

  void advance(const SourceTensor& tensor, std::uint64_t first, std::uint64_t rows) {
    release_rows(model_, tensor, first, rows);
    done_ += rows * tensor.columns();
    if (options_.progress) options_.progress(stage_, done_, total());
  }

  std::uint64_t total() const {
    std::uint64_t elements = 0;
    for (const SourceTensor& tensor : model_.tensors) elements += tensor.rows() * tensor.columns();
    return elements;
  }

  bool is_copied(std::size_t index) const {
    return model_.tensors[index].verbatim() && types_[index] == model_.tensors[index].type;
  }

  std::uint64_t row_bytes(std::size_t index) const {
    const TypeInfo& info = *type_info(types_[index]);
    return model_.tensors[index].columns() / info.block_elements * info.block_bytes;
  }

  static std::uint64_t chunk_rows(const SourceTensor& tensor) {
    return std::max<std::uint64_t>(1, kChunkElements / tensor.columns());
  }

  // Calls body(row, buffer) for the rows on all threads; `buffer` holds a row's floats.
  template <class Body>
  void for_rows(const SourceTensor& tensor, std::uint64_t first, std::uint64_t count, Body body) {
    team_.parallel_for(count, 1 + count / (8 * team_.size()), [&](std::uint64_t begin, std::uint64_t end) {
      std::vector<float> values(tensor.columns());
      for (std::uint64_t row = first + begin; row < first + end; ++row) {
        read_row(model_, tensor, row, values);
        body(row, std::span<const float>(values));
      }
    });
  }

  void write(AtomicFile& file, std::size_t index) {
    const SourceTensor& tensor = model_.tensors[index];
    const std::uint64_t bytes = row_bytes(index), offset = model_.metadata.tensors()[index].offset;
    const RowImportance importance(tensor, is_quantized(types_[index]) ? options_.importance : nullptr);
    XXH64_hash_t hash = 0;
    for (std::uint64_t first = 0; first < tensor.rows(); first += chunk_rows(tensor)) {
      const std::uint64_t count = std::min(chunk_rows(tensor), tensor.rows() - first);
      std::span<const std::byte> chunk;
      if (is_copied(index)) {
        chunk = stored_rows(model_, tensor, first, count);
      } else {
        encode_chunk(index, first, count, importance);
        chunk = std::as_bytes(std::span(encoded_)).first(count * bytes);
      }
      hash = XXH3_64bits_withSeed(chunk.data(), chunk.size(), hash);
      file.write(offset + first * bytes, chunk);
      advance(tensor, first, count);
    }
    hashes_.push_back(hash);
  }

  void encode_chunk(std::size_t index, std::uint64_t first, std::uint64_t count, const RowImportance& importance) {
    const SourceTensor& tensor = model_.tensors[index];
    const std::uint64_t bytes = row_bytes(index);
    encoded_.resize(count * bytes);
    std::atomic<std::uint64_t> bad{UINT64_MAX};
    for_rows(tensor, first, count, [&](std::uint64_t row, std::span<const float> values) {
      if (!std::ranges::all_of(values, [](float value) { return std::isfinite(value); })) {
        bad.store(row, std::memory_order_relaxed);
        return;
      }
      encode_row(types_[index], values, importance.of(row), encoded_.data() + (row - first) * bytes);
    });
    if (bad == UINT64_MAX) return;
    throw Error(ErrorKind::kCorrupt, model_.files.path().string() + ": tensor " + in_quotes(tensor.name) +
                                         " holds an infinity or NaN in row " + std::to_string(bad.load()) +
                                         ": expected finite weights; the file is damaged or its training went astray");
  }

  QuantizeResult verify(const fs::path& path) {
    const GgufFile written(path);
    QuantizeResult result;
    if (written.tensors().size() != types_.size()) lost("its tensors", "are not all there");
    for (std::size_t i = 0; i < types_.size(); ++i) {
      const SourceTensor& tensor = model_.tensors[i];
      const TensorInfo& info = written.tensors()[i];
      if (info.name != tensor.name || info.type != types_[i] || info.shape != tensor.shape)
        lost(in_quotes(tensor.name), "is another tensor when read again");
      result.tensors.push_back({.name = tensor.name,
                                .from = tensor.type,
                                .to = info.type,
                                .elements = info.elements(),
                                .bytes = info.size,
                                .error = compare(i, written, info)});
      result.elements += info.elements();
      result.bytes_after += info.size;
      result.bytes_before += tensor.bytes_before();
    }
    return result;
  }

  // The relative error of a tensor as written.
  double compare(std::size_t index, const GgufFile& written, const TensorInfo& info) {
    const SourceTensor& tensor = model_.tensors[index];
    const std::uint64_t bytes = row_bytes(index);
    const RowImportance importance(tensor, is_quantized(types_[index]) ? options_.importance : nullptr);
    const MappedFile& file = written.files()[0];
    RowError sum;
    XXH64_hash_t hash = 0;
    for (std::uint64_t first = 0; first < tensor.rows(); first += chunk_rows(tensor)) {
      const std::uint64_t count = std::min(chunk_rows(tensor), tensor.rows() - first), at = info.offset + first * bytes;
      const auto chunk = file.bytes().subspan(at, count * bytes);
      hash = XXH3_64bits_withSeed(chunk.data(), chunk.size(), hash);
      if (!is_copied(index)) {
        errors_.assign(count, {});
        for_rows(tensor, first, count, [&](std::uint64_t row, std::span<const float> values) {
          std::vector<float> decoded(values.size());
          decode_row(info.type, reinterpret_cast<const std::uint8_t*>(chunk.data()) + (row - first) * bytes,
                     decoded.size(), decoded.data());
          errors_[row - first] = row_error(info.type, values, decoded, importance.of(row));
        });
        for (const RowError& one : errors_) sum += one;
      }
      file.release(at, count * bytes);
      advance(tensor, first, count);
    }
    if (hash != hashes_[index]) lost(in_quotes(tensor.name), "has other bytes than were written");
    if (!(sum.error <= sum.limit)) lost(in_quotes(tensor.name), "is further from its source than its type allows");
    return sum.power > 0 ? std::sqrt(sum.plain / sum.power) : 0;
  }

  [[noreturn]] void lost(const std::string& what, const std::string& how) const {
    throw Error(ErrorKind::kCorrupt, out_.string() + ": was not kept: " + what + " " + how +
                                         ": the disk or the memory is at fault, or this is a defect of ours");
  }

  SourceModel& model_;
  const fs::path& out_;
  const QuantizeOptions& options_;
  ThreadTeam team_;
  const std::vector<nacelle_type> types_;
  std::vector<std::uint8_t> encoded_;  // of a chunk
  std::vector<RowError> errors_;       // of its rows
  std::vector<XXH64_hash_t> hashes_;   // of each tensor as written
  const char* stage_ = "";
  std::uint64_t done_ = 0;
};

}  // namespace

std::vector<nacelle_type> planned_types(const SourceModel& model, const QuantizeOptions& options) {
  ModelTraits traits = model.traits;
  traits.importance = options.importance != nullptr;
  return choose_types(*options.recipe, traits, plans_of(model), options.overrides);
}

QuantizeResult quantize(SourceModel& model, const fs::path& out, const QuantizeOptions& options) {
  return Quantizer(model, out, options).run();
}

}  // namespace nacelle::compress
