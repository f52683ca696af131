// Activation-aware scaling: input channels that carry much are made larger before they are rounded, and what feeds
// them smaller by as much, so that the model computes the same and its codes lose less where it counts.
// Method: Lin et al., AWQ, arXiv 2306.00978, sections 3.2 and 3.3, with the loss on measured mean squares.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/compress/importance.hpp"
#include "core/compress/source.hpp"

namespace nacelle::compress {

struct ScalingResult {
  std::uint32_t groups = 0, scaled = 0;  // that can be scaled exactly, and those for which it pays
  double before = 0, after = 0;          // the weighted error over the sampled rows of all groups, of their power
};

// Sets factors on the tensors of `model`, for `types` (one a tensor) to be quantized to. A scale goes into the norm
// before its matrices, into the values' rows before attention's output, and into the up projection's before the way
// down: nowhere else, since nowhere else is it exact. Throws Error(kUnsupported) for a family of which that is not
// known.
ScalingResult scale_by_activation(SourceModel& model, std::span<const nacelle_type> types, const Importance& importance,
                                  unsigned threads,
                                  const std::function<void(std::uint64_t, std::uint64_t)>& progress = {});

}  // namespace nacelle::compress
