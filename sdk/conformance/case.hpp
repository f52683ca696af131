// One test case: a little graph, what feeds it, the steps it runs in, and (for cases of goldens.json) what must come
// out.
#pragma once

#include <nacelle/backend.h>

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "sdk/runtime/graph.hpp"

namespace nacelle::conformance {

constexpr std::uint32_t kDecoder = 0xffffffffu;  // as the subject of a case
constexpr std::uint32_t kVocabulary = 23;        // token ids of all cases lie below

// A weight of the graph, or an f32 [rows, width] boundary value whose row is told by its sequence and position alone: a
// row is the same in whatever batch it comes.
struct Source {
  std::uint32_t value;
  std::uint64_t seed;
  float scale = 1, offset = 0;
};

struct AdapterSource {
  std::uint32_t slot, target, rank;
  float scale;
  std::uint64_t seed;
};

// Rows start .. start + rows - 1 of a sequence, together in a step.
struct Span {
  std::uint32_t sequence, start, rows;
};
using Steps = std::vector<std::vector<Span>>;

class Case {
 public:
  explicit Case(std::string case_name) : name(std::move(case_name)) {}
  // A whole model, as an architecture has built it, with the bytes of its weights.
  Case(std::string case_name, sdk::GraphRecord record, std::vector<std::vector<std::byte>> weight_bytes);

  // Each returns a value id. `op` asks sdk/runtime's rules for the outputs, so a malformed case throws sdk::Failure.
  std::uint32_t input(std::uint32_t role);
  std::uint32_t rows(std::int64_t width, std::uint64_t seed, float scale = 2);
  std::uint32_t weight(nacelle_type type, std::initializer_list<std::int64_t> shape, std::uint64_t seed,
                       float scale = 1, float offset = 0);
  std::uint32_t weight(nacelle_type type, const std::vector<std::int64_t>& shape, std::uint64_t seed, float scale,
                       float offset);
  std::vector<std::uint32_t> op(std::uint32_t kind, std::vector<std::uint32_t> inputs, sdk::Attributes attributes = {},
                                std::vector<std::int64_t> split_widths = {}, std::uint32_t outputs = 1);
  // Marks what is compared: an f32 value.
  void set_result(std::uint32_t value, std::uint32_t output = NACELLE_OUTPUT_BOUNDARY);
  // A paged group; returns its index.
  std::uint32_t cache_group(std::uint32_t key_width, std::uint32_t value_width, std::uint32_t layers = 1,
                            std::uint32_t window = 0);
  // A group of states of `values` f32; returns its index.
  std::uint32_t state_group(std::uint32_t values, std::uint32_t layers = 1);
  // For refusals: what the rules of the builder would not let through.
  void set_group_kind(std::uint32_t group, std::uint32_t kind) { record_.cache_groups.at(group).kind = kind; }

  sdk::Graph graph() const { return sdk::Graph(record_); }
  const sdk::GraphRecord& record() const { return record_; }

  std::string name;
  std::uint32_t subject = 0;  // the operation that it is about; kDecoder for a whole decoder
  Steps steps;
  nacelle_type key_type = NACELLE_TYPE_F32, value_type = NACELLE_TYPE_F32;
  std::uint32_t block_tokens = 4;
  std::uint32_t context = 64;
  std::vector<Source> weights, boundaries;
  std::vector<AdapterSource> adapters;
  std::uint32_t result = NACELLE_NO_VALUE;
  std::vector<std::vector<std::byte>> stored;  // by weight, where they are not random: an architecture's
  std::vector<float> expected;                 // row after row, as the steps give them

 private:
  std::uint32_t add(const nacelle_value& value);
  sdk::GraphRecord record_;
};

// LOGITS_SELECT over logits that are given as boundary values, and what must come out of each row.
struct SelectionGolden {
  std::uint32_t vocabulary = 0, candidates = 0;
  std::vector<float> logits, temperatures;
  std::vector<std::uint32_t> masks;
  std::vector<std::pair<std::uint32_t, nacelle_adjustment>> adjustments;  // by row
  std::vector<std::uint32_t> ids;
  std::vector<float> adjusted, raw, logsumexp;
};

// What make_goldens.py has computed with NumPy; the file is part of the program.
struct Goldens {
  std::vector<Case> cases;
  SelectionGolden selection;
};
Goldens read_goldens();

}  // namespace nacelle::conformance
