// Format: https://github.com/ggml-org/llama.cpp/blob/master/tools/imatrix/README.md: per weight two tensors,
// NAME.in_sum2 {matrices, channels} and NAME.counts {matrices, 1}.
#include "core/compress/importance.hpp"

#include <cmath>
#include <cstring>

#include "core/base/atomic_file.hpp"
#include "core/formats/file_error.hpp"
#include "core/formats/gguf.hpp"
#include "core/formats/gguf_writer.hpp"

namespace nacelle::compress {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kSums = ".in_sum2", kCounts = ".counts";
constexpr const char *kDatasets = "imatrix.datasets", *kChunks = "imatrix.chunk_count",
                     *kChunkSize = "imatrix.chunk_size";

[[noreturn]] void fail(const fs::path& path, const std::string& what, ErrorKind kind = ErrorKind::kCorrupt) {
  throw Error(kind, path.string() + ": " + what);
}

std::vector<float> floats(const GgufFile& file, const TensorInfo& tensor) {
  if (tensor.type != NACELLE_TYPE_F32) fail(file.path(), "tensor " + in_quotes(tensor.name) + ": expected F32");
  std::vector<float> values(tensor.elements());
  std::memcpy(values.data(), file.files()[tensor.file].bytes().data() + tensor.offset, tensor.size);
  for (const float value : values)
    if (!(value >= 0) || !std::isfinite(value))
      fail(file.path(),
           "tensor " + in_quotes(tensor.name) + " holds " + std::to_string(value) + ", expected sums of squares");
  return values;
}

std::uint32_t whole(const GgufFile& file, const char* key) {
  const GgufValue* value = file.find(key);
  const auto* number = value ? std::get_if<std::int64_t>(value) : nullptr;
  return number ? static_cast<std::uint32_t>(*number) : 0;
}

Importance read_gguf(const fs::path& path) {
  const GgufFile file(path);
  const GgufValue* kind = file.find("general.type");
  const auto* text = kind ? std::get_if<std::string_view>(kind) : nullptr;
  if (!text || *text != "imatrix")
    fail(path,
         "is no importance matrix (general.type is " + (text ? in_quotes(*text) : "absent") +
             "); `nacelle imatrix` makes one",
         ErrorKind::kInvalidArgument);
  Importance importance{.chunks = whole(file, kChunks), .chunk_tokens = whole(file, kChunkSize)};
  if (const GgufValue* sets = file.find(kDatasets)) {
    const auto* array = std::get_if<GgufArray>(sets);
    if (const auto* names = array ? std::get_if<std::vector<std::string_view>>(&array->values) : nullptr)
      importance.datasets.assign(names->begin(), names->end());
  }
  for (const TensorInfo& tensor : file.tensors()) {
    const bool sums = tensor.name.ends_with(kSums);
    if (!sums && !tensor.name.ends_with(kCounts))
      fail(path, "tensor " + in_quotes(tensor.name) + ": expected NAME.in_sum2 or NAME.counts");
    ChannelSums& to = importance.weights[tensor.name.substr(0, tensor.name.size() - (sums ? kSums : kCounts).size())];
    (sums ? to.sums : to.counts) = floats(file, tensor);
    if (sums) to.channels = tensor.shape.back();
  }
  for (const auto& [name, one] : importance.weights)
    if (one.channels == 0 || one.sums.size() != one.counts.size() * one.channels)
      fail(path, "weight " + in_quotes(name) + " has " + std::to_string(one.sums.size()) + " sums for " +
                     std::to_string(one.counts.size()) + " counts");
  return importance;
}

// Before GGUF: int32 entries, then for each its name, how many rows, and the sums, all with an int32 length.
Importance read_binary(const fs::path& path) {
  const MappedFile file(path);
  std::span<const std::byte> rest = file.bytes();
  const auto take = [&](void* to, std::size_t size) {
    if (size > rest.size()) fail(path, "is neither a GGUF importance matrix nor an older one, or it is cut off");
    std::memcpy(to, rest.data(), size);
    rest = rest.subspan(size);
  };
  const auto length = [&](std::int32_t most) {
    std::int32_t value;
    take(&value, sizeof value);
    if (value < 1 || value > most)
      fail(path, "is no importance matrix: expected a GGUF file that `nacelle imatrix` wrote");
    return static_cast<std::size_t>(value);
  };
  Importance importance;
  for (std::size_t left = length(1 << 16); left > 0; --left) {
    std::string name(length(256), '\0');
    take(name.data(), name.size());
    const auto rows = static_cast<float>(length(1 << 30));
    ChannelSums one;
    one.channels = length(1 << 24);
    if (one.channels * sizeof(float) > rest.size()) fail(path, "is cut off in " + in_quotes(name));
    one.sums.resize(one.channels);
    take(one.sums.data(), one.channels * sizeof(float));
    for (const float value : one.sums)
      if (!(value >= 0) || !std::isfinite(value))
        fail(path, in_quotes(name) + " holds a value that is no sum of squares");
    one.counts = {rows};
    importance.weights[name] = std::move(one);
  }
  return importance;
}

}  // namespace

std::vector<float> Importance::channel_means(std::string_view weight, std::uint64_t matrix,
                                             std::uint64_t channels) const {
  const auto found = weights.find(weight);
  if (found == weights.end()) return {};
  const ChannelSums& one = found->second;
  // The older files count the rows of all experts as one.
  const bool shared_count = one.counts.size() == 1 && one.channels != channels;
  const std::uint64_t matrices = shared_count ? one.channels / channels : one.counts.size();
  if (shared_count ? one.channels % channels != 0 : one.channels != channels)
    throw Error(ErrorKind::kInvalidArgument, "the importance matrix has " + std::to_string(one.channels) +
                                                 " channels for " + in_quotes(weight) + ", which has " +
                                                 std::to_string(channels) + ": it was made for another model");
  if (matrix >= matrices) return {};
  const float count = one.counts[shared_count ? 0 : matrix];
  if (!(count > 0)) return {};
  const auto first = one.sums.begin() + static_cast<std::ptrdiff_t>(matrix * channels);
  std::vector<float> means(first, first + static_cast<std::ptrdiff_t>(channels));
  for (float& mean : means) mean /= count;
  return means;
}

Importance read_importance(const fs::path& path) {
  {
    const MappedFile file(path);
    const auto bytes = file.bytes();
    if (bytes.size() < 4 || std::memcmp(bytes.data(), "GGUF", 4) != 0) return read_binary(path);
  }
  return read_gguf(path);
}

void write_importance(const fs::path& path, const Importance& importance) {
  GgufWriter writer;
  writer.set("general.type", "imatrix");
  writer.set(kDatasets, std::span<const std::string>(importance.datasets));
  writer.set(kChunks, importance.chunks);
  writer.set(kChunkSize, importance.chunk_tokens);
  for (const auto& [name, one] : importance.weights) {
    const std::uint64_t matrices = one.counts.size();
    writer.add_tensor(name + std::string(kSums), NACELLE_TYPE_F32, {matrices, one.channels});
    writer.add_tensor(name + std::string(kCounts), NACELLE_TYPE_F32, {matrices, 1});
  }
  AtomicFile file(fs::absolute(path));
  const std::vector<std::byte> header = writer.header();
  file.write(0, header);
  std::size_t next = 0;
  for (const auto& [name, one] : importance.weights)
    for (const auto* values : {&one.sums, &one.counts})
      file.write(writer.tensors()[next++].offset, std::as_bytes(std::span(*values)));
  file.commit();
}

}  // namespace nacelle::compress
