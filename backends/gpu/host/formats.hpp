// The formats that weights are packed in: one line each, with its kernels. backends/gpu/kernels/weights.hpp says how
// the arrays are read, packing.cpp writes them.
#pragma once

#include <nacelle/graph.h>

#include <cstdint>

#include "backends/gpu/kernels/list.hpp"

namespace nacelle::gpu {

constexpr Kernel kNoKernel = static_cast<Kernel>(0xffffffffu);

struct Format {
  const char* name;
  nacelle_type type;           // that it holds as stored; INVALID: any block type, repacked
  std::uint32_t tile_columns;  // 16, or 32 for blocks
  std::uint32_t lane_bytes;    // of a lane's codes in a tile
  std::uint32_t high_bytes;    // of a lane's upper bits
  std::uint32_t scale_bytes;   // of a row's 32 columns
  std::uint32_t super_bytes;   // of a row's 256 columns
  bool bfloat16;               // how activations are encoded for the tensor cores
  Kernel embedding, plain_one, plain_few, tensor_few, tensor_many, moe, unpack;
};

// The format that weights of `type` are packed in; nullptr for a type that has none.
const Format* find_format(nacelle_type type);

}  // namespace nacelle::gpu
