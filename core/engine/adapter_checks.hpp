// What an adapter's file must be beside its pairs, and how a tensor of it is refused. All throw Error(kUnsupported)
// with one line.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/engine/adapter.hpp"

namespace nacelle {

// The file is of the model's architecture, or the architecture says how the other format's tensors correspond.
void check_family(const AdapterFile& file, const ModelFiles& model, const std::vector<AdapterTarget>& targets);

// Tensors that PEFT saves whole beside the pairs must be the model's own embedding or head: by their shape, and where
// the model's can be read as they are, by their numbers.
void check_saved_tensors(const AdapterFile& file, const ModelFiles& model, const std::vector<AdapterTarget>& targets);

[[noreturn]] void refuse_tensor(const AdapterFile& file, const std::string& tensor, const std::string& what);

// "[2, 3]"
std::string text_of_shape(const std::vector<std::int64_t>& shape);

}  // namespace nacelle
