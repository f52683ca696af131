// The tensors of a GGUF file that is to be written, as functions of the tensors that a model has now. Read by rows, so
// that no tensor need ever be in memory.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/compress/mixes.hpp"
#include "core/formats/gguf_writer.hpp"
#include "core/formats/model_files.hpp"

namespace nacelle::compress {

struct SourceTensor {
  std::string name;  // GGUF's
  std::vector<std::uint64_t> shape;
  nacelle_type type;                          // that its values have now
  std::vector<const TensorInfo*> parts = {};  // whose rows follow one another
  std::vector<float> computed = {};           // in place of parts: what the source only states in its configuration
  // Rows of each of so many heads: those of the two halves of a head become neighbours (the interleaved rotation of
  // GGUF's llama, from Hugging Face's split one). 0: as they are.
  std::uint64_t interleaved_heads = 0;
  float addend = 0;
  // Activation-aware scaling: what each row and each column is multiplied by; empty: 1.
  std::vector<float> row_factors = {}, column_factors = {};

  std::uint64_t columns() const noexcept { return shape.back(); }
  std::uint64_t rows() const noexcept;
  // Whether its bytes are those of the source, one after the other.
  bool verbatim() const noexcept;
};

// A model about to be written: its tensors, and the metadata without what quantizing itself sets.
struct SourceModel {
  const ModelFiles& files;
  std::vector<SourceTensor> tensors;
  GgufWriter metadata;
  ModelTraits traits;
};

// From GGUF or a Hugging Face folder. `files` must outlive it. Throws Error: kUnsupported for a family whose
// safetensors have no mapping to GGUF here.
SourceModel open_source(const ModelFiles& files);

// Row `row` as f32. Any thread.
void read_row(const SourceModel& model, const SourceTensor& tensor, std::uint64_t row, std::span<float> out);
// The stored bytes of a verbatim tensor's rows.
std::span<const std::byte> stored_rows(const SourceModel& model, const SourceTensor& tensor, std::uint64_t first,
                                       std::uint64_t count);
// Rows [first, first + count) are not read again soon: their pages may be dropped.
void release_rows(const SourceModel& model, const SourceTensor& tensor, std::uint64_t first, std::uint64_t count);

}  // namespace nacelle::compress
