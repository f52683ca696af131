// A model into a GGUF file of other weight types: streamed by rows, on several threads, and read again afterwards.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "core/compress/importance.hpp"
#include "core/compress/mixes.hpp"
#include "core/compress/source.hpp"

namespace nacelle::compress {

struct QuantizeOptions {
  const Recipe* recipe = nullptr;
  std::vector<TypeOverride> overrides = {};
  const Importance* importance = nullptr;
  std::string importance_file = {};  // its name, for the metadata
  bool requantize = false;           // weights that have lost bits already may lose more
  unsigned threads = 1;
  // Of `total` bytes of sources; `stage` is "quantizing" or "verifying". On the calling thread.
  std::function<void(const char* stage, std::uint64_t done, std::uint64_t total)> progress = {};
};

struct TensorResult {
  std::string name;
  nacelle_type from, to;
  std::uint64_t elements, bytes;  // as written
  double error;                   // root mean square of the error over that of the values
};

struct QuantizeResult {
  std::vector<TensorResult> tensors;
  std::uint64_t bytes_before = 0, bytes_after = 0;  // of the tensors
  std::uint64_t elements = 0;
};

// Writes `out` whole or not at all. Throws Error: kInvalidArgument (a type that does not fit, weights that are
// quantized already), kCorrupt (values that are not finite; what was read back is not what was written), kResource (a
// full disk).
QuantizeResult quantize(SourceModel& model, const std::filesystem::path& out, const QuantizeOptions& options);

// The types that it would choose.
std::vector<nacelle_type> planned_types(const SourceModel& model, const QuantizeOptions& options);

}  // namespace nacelle::compress
