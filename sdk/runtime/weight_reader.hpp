// Rows of a weight, from the tensors of a mapped file: in place where they lie together there, else in a scratch
// buffer.
#pragma once

#include <nacelle/backend.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "weight_expr.hpp"

namespace nacelle::sdk {

// The model file, as the reader sees it. Any thread.
class TensorSource {
 public:
  virtual ~TensorSource() = default;
  // All bytes of a tensor, valid while the source lives. Throws when there is none.
  virtual std::span<const std::byte> bytes(std::string_view tensor) = 0;
  // These bytes are not read again for this weight: the pages behind them may be dropped.
  virtual void release(std::string_view tensor, std::uint64_t offset, std::uint64_t size) noexcept = 0;
};

// Reads one weight; `node` and `source` must outlive it. One thread at a time.
class WeightReader {
 public:
  // Throws Failure where the source's tensor is not as long as its shape says.
  WeightReader(const WeightNode& node, TensorSource& source);

  std::uint64_t row_count() const noexcept { return node_.row_count(); }
  std::uint64_t row_bytes() const noexcept { return node_.row_bytes(); }

  // Rows [begin, begin + count), one after the other, aligned for their element type. Valid until release() of a range
  // that holds `begin`. Throws Failure(NACELLE_INVALID_ARGUMENT) outside the weight.
  nacelle_weight_rows read(std::uint64_t begin, std::uint64_t count);
  // Frees the scratch of reads that began in the range and tells the source. Ranges outside the weight are cut.
  void release(std::uint64_t begin, std::uint64_t count) noexcept;

 private:
  struct Scratch {
    std::uint64_t begin;
    std::unique_ptr<std::byte[]> data;
  };

  void collect(const WeightNode& node);
  const std::byte* direct(const WeightNode& node, std::uint64_t offset, std::uint64_t size) const;
  void fill(const WeightNode& node, std::uint64_t offset, std::uint64_t size, std::byte* out);
  void fill_decoded(const WeightNode& node, std::uint64_t offset, std::uint64_t size, std::byte* out);
  void fill_arithmetic(const WeightNode& node, std::uint64_t offset, std::uint64_t size, std::byte* out);
  void fill_mxfp4(const WeightNode& node, std::uint64_t offset, std::uint64_t size, std::byte* out);
  void fill_transposed(const WeightNode& node, std::uint64_t offset, std::uint64_t size, std::byte* out);
  const std::byte* whole(const WeightNode& node);
  void release_range(const WeightNode& node, std::uint64_t offset, std::uint64_t size) noexcept;

  const WeightNode& node_;
  TensorSource& source_;
  std::unordered_map<const WeightNode*, std::span<const std::byte>> tensors_;
  std::unordered_map<const WeightNode*, std::unique_ptr<std::byte[]>> wholes_;  // inputs of transposes, kept
  std::vector<Scratch> scratch_;
};

}  // namespace nacelle::sdk
