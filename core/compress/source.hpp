// The tensors of a GGUF file that is to be written, as functions of the tensors that a model has now. Read by rows, so
// that no tensor need ever be in memory.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/compress/mixes.hpp"
#include "core/formats/file_tensors.hpp"
#include "core/formats/gguf_writer.hpp"
#include "core/formats/model_files.hpp"

namespace nacelle::compress {

// Rows of an expression over a model's tensors. `files` must outlive it.
class MadeTensor {
 public:
  MadeTensor(sdk::WeightNode node, const ModelFiles& files) : node_(std::move(node)), tensors_(files) {
    reader_.emplace(node_, tensors_);
  }

  const sdk::WeightNode& node() const noexcept { return node_; }
  // Rows [first, first + count), valid until a release() of a range that holds `first`. Any thread.
  const std::byte* rows(std::uint64_t first, std::uint64_t count) {
    std::lock_guard lock(mutex_);
    return static_cast<const std::byte*>(reader_->read(first, count).data);
  }
  void release(std::uint64_t first, std::uint64_t count) {
    std::lock_guard lock(mutex_);
    reader_->release(first, count);
    if (first + count < reader_->row_count()) return;
    reader_.emplace(node_, tensors_);  // a reader keeps what it transposes
    release_inputs(node_);
  }

 private:
  void release_inputs(const sdk::WeightNode& node) noexcept {
    if (node.kind == NACELLE_EXPR_TENSOR) tensors_.release(node.tensor, 0, node.bytes());
    for (const sdk::WeightNode& input : node.inputs) release_inputs(input);
  }

  const sdk::WeightNode node_;
  FileTensors tensors_;
  std::mutex mutex_;
  std::optional<sdk::WeightReader> reader_;
};

struct SourceTensor {
  std::string name;  // GGUF's
  std::vector<std::uint64_t> shape;
  nacelle_type type;  // that its values have now
  // One of these three: a tensor as it is stored, what an expression makes of some, what the configuration states.
  const TensorInfo* stored = nullptr;
  std::shared_ptr<MadeTensor> made = {};
  std::vector<float> computed = {};
  // Activation-aware scaling: what each row and each column is multiplied by; empty: 1.
  std::vector<float> row_factors = {}, column_factors = {};

  std::uint64_t columns() const noexcept { return shape.back(); }
  std::uint64_t rows() const noexcept;
  std::uint64_t bytes_before() const noexcept;  // of what it is made of
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

// Of GGUF files, which must outlive it.
SourceModel open_gguf(const ModelFiles& files);

// Row `row` as f32. Any thread.
void read_row(const SourceModel& model, const SourceTensor& tensor, std::uint64_t row, std::span<float> out);
// The stored bytes of a verbatim tensor's rows.
std::span<const std::byte> stored_rows(const SourceModel& model, const SourceTensor& tensor, std::uint64_t first,
                                       std::uint64_t count);
// Rows [first, first + count) are not read again soon: their pages may be dropped.
void release_rows(const SourceModel& model, const SourceTensor& tensor, std::uint64_t first, std::uint64_t count);

}  // namespace nacelle::compress
