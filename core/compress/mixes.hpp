// Which type each tensor of a model gets: the mixes that GGUF users know (q4_k_m: most of it Q4_K, what suffers most
// in more bits), and a user's own exceptions.
// Source of the rules: what llama.cpp's quantizer is known to choose, so that a name means the same file.
#pragma once

#include <cstdint>
#include <map>
#include <nacelle/types.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nacelle::compress {

struct Recipe {
  const char* name;         // "q4_k_m"
  std::uint32_t file_type;  // general.file_type
  nacelle_type type;        // of most tensors
};

std::span<const Recipe> recipes() noexcept;
const Recipe* find_recipe(std::string_view name) noexcept;  // nullptr: none of that name

// What the rules ask of a model.
struct ModelTraits {
  std::string architecture;  // GGUF's name
  std::uint32_t layers = 0, experts = 0;
  std::uint32_t kv_heads = 0, heads_per_kv_head = 1;
  bool tied = false;  // no output.weight: the embedding is the head as well
  bool importance = false;
};

// A tensor of the model, and what is to become of it.
struct TensorPlan {
  std::string name;
  std::vector<std::uint64_t> shape;  // outermost first
  nacelle_type type;                 // as it is stored
};

// PATTERN=TYPE: a name with * and ? (all of it must match), or a part of a name.
struct TypeOverride {
  std::string pattern;
  nacelle_type type;
};

// Whether a tensor that is made anew is F32 whatever it is made of, as GGUF's readers expect: vectors, and what is
// small.
bool stays_f32(std::string_view name, std::size_t rank);

// The types for `tensors`, one each. What is no matrix, norms and routers keep full precision. A row that the type's
// blocks do not divide falls back to a type of smaller blocks, or to F16. Throws Error(kInvalidArgument) for an
// override that matches nothing or does not fit.
std::vector<nacelle_type> choose_types(const Recipe& recipe, const ModelTraits& traits,
                                       std::span<const TensorPlan> tensors, std::span<const TypeOverride> overrides);

}  // namespace nacelle::compress
