// Weight expressions, resolved: the tree of nacelle_weight_expr with every tensor found, every choice made and every
// shape known and checked. Made once by the graph builder; weight_reader.hpp turns it into bytes.
#pragma once

#include <nacelle/graph.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nacelle::sdk {

// Kinds of nodes beyond NACELLE_EXPR_*: how quantized checkpoints store a matrix, see packed_weights.hpp.
enum : std::uint32_t {
  kWeightGptq = 0x10000,
  kWeightAwq,
  kWeightFp8,
  kWeightPackedRows,
  kWeightInt8,
  kWeightInt8Absmax,
  kWeightNvfp4,
  kWeightNvfp4Divided,
  kWeightNf4,
  kWeightFp4,
};

// One node. STACK has become CONCAT along axis 0, and FIRST_OF the input that exists.
struct WeightNode {
  std::uint32_t kind = NACELLE_EXPR_TENSOR;  // none of STACK and FIRST_OF
  nacelle_type type = NACELLE_TYPE_INVALID;  // ADD and SCALE widen to F32, so that a constant loses nothing
  std::vector<std::int64_t> shape;           // outermost first; every extent at least 1, rows hold whole blocks
  std::vector<WeightNode> inputs;
  std::string tensor;                // TENSOR and packed matrices: its name in the file, or as it is asked for
  std::uint32_t axis = 0;            // CONCAT, SLICE
  std::int64_t begin = 0;            // SLICE; of NF4 and FP4 the elements of a block
  std::int64_t nested_block = 0;     // NF4 and FP4 with scales that are quantized too: how many of them
  std::vector<std::uint32_t> order;  // PERMUTE: input axis of each output axis
  double constant = 0;               // ADD, SCALE, CONSTANT; what is added to scales that are quantized

  std::uint64_t row_count() const noexcept;  // product of all extents but the last
  std::uint64_t row_bytes() const noexcept;
  std::uint64_t bytes() const noexcept { return row_count() * row_bytes(); }
};

// Type and stored shape of a tensor of the model file; false where there is none. `shape` has room for
// NACELLE_MAX_RANK.
using TensorLookup =
    std::function<bool(std::string_view name, nacelle_type* type, std::uint32_t* rank, std::int64_t* shape)>;

// What bitsandbytes says of a matrix of 4 bits in a tensor of JSON; 0 and empty where it does not say.
struct FourBitState {
  std::vector<std::int64_t> shape;
  std::int64_t block = 0, nested_block = 0;
  double nested_offset = 0;
};

// The content of such a tensor; nullopt where there is none. Throws what says why it cannot be read.
using StateLookup = std::function<std::optional<FourBitState>(std::string_view name)>;

// Resolves `source` for `layer` (negative: outside the layers, where "{layer}" may not occur). Depth and size of the
// tree are bounded. Throws Failure: NACELLE_NOT_FOUND names the missing tensors, NACELLE_INVALID_ARGUMENT what is
// malformed.
WeightNode resolve_weight(const nacelle_weight_expr* source, std::int32_t layer, const TensorLookup& lookup,
                          const StateLookup& states = {});

// A copy of an expression as its architecture gave it, to be resolved later. Immutable. The constructor throws Failure
// as resolve_weight does.
class KeptExpr {
 public:
  explicit KeptExpr(const nacelle_weight_expr* from) : root_(copy(from, 0)) {}
  KeptExpr(const KeptExpr&) = delete;
  KeptExpr& operator=(const KeptExpr&) = delete;
  const nacelle_weight_expr* get() const noexcept { return root_; }

 private:
  struct Node {
    nacelle_weight_expr plain;
    std::string name;
    std::vector<const nacelle_weight_expr*> inputs;
  };
  const nacelle_weight_expr* copy(const nacelle_weight_expr* from, std::uint32_t depth);

  std::deque<Node> nodes_;  // never moves what it holds
  const nacelle_weight_expr* root_;
};

}  // namespace nacelle::sdk
