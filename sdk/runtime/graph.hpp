// A graph as the host holds it: GraphRecord is plain and can be edited; Graph freezes one behind the nacelle_graph that
// backends see, and keeps where each weight comes from.
#pragma once

#include <nacelle/graph.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <nacelle/plugin.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "weight_expr.hpp"

namespace nacelle::sdk {

// The attribute struct of one operation, whatever its kind; empty for kinds without one. 8-byte aligned.
class Attributes {
 public:
  Attributes() = default;
  template <class T>
  explicit Attributes(const T& value) : words_((sizeof(T) + 7) / 8) {
    std::memcpy(words_.data(), &value, sizeof(T));
  }
  // A struct of another's making, which begins with its size; empty: none.
  static Attributes from_bytes(std::span<const std::byte> bytes) {
    Attributes made;
    made.words_.resize((bytes.size() + 7) / 8);
    if (!bytes.empty()) std::memcpy(made.words_.data(), bytes.data(), bytes.size());
    return made;
  }
  const void* data() const { return words_.empty() ? nullptr : words_.data(); }
  template <class T>
  T as() const {
    return load(static_cast<const T*>(data()));
  }

 private:
  std::vector<std::uint64_t> words_;
};

struct OpRecord {
  std::uint32_t kind = 0;
  std::int32_t layer = -1;
  std::vector<std::uint32_t>
      inputs;  // value ids; NACELLE_NO_VALUE where absent, and Graph fills up to all optional ones
  std::vector<std::uint32_t> outputs;
  Attributes attributes;
};

struct WeightSource {
  WeightNode value;
  // As the architecture declared it, and over the tensors of the other file format (nullptr: it did not say).
  std::shared_ptr<const KeptExpr> declared, other;
  std::vector<std::pair<std::uint32_t, WeightNode>> companions;  // by NACELLE_COMPANION_*
};

struct WeightRecord {
  std::string name;
  std::uint32_t value = NACELLE_NO_VALUE;
  std::int32_t layer = -1;
  std::shared_ptr<const WeightSource> source;  // shared by the graphs that are made from one another
};

struct GraphRecord {
  std::uint32_t flags = 0;
  std::uint32_t layer_count = 0;
  std::uint32_t vocabulary = 0;
  std::vector<nacelle_value> values;
  std::vector<OpRecord> ops;
  std::vector<WeightRecord> weights;
  std::vector<nacelle_cache_group> cache_groups;
};

// Immutable; any thread. The view and all it points to stay valid while the object lives.
class Graph {
 public:
  explicit Graph(GraphRecord record);
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  const nacelle_graph& view() const noexcept { return view_; }
  const GraphRecord& record() const noexcept { return record_; }
  // By the index of nacelle_value.weight.
  const WeightSource& weight_source(std::uint32_t weight) const { return *record_.weights.at(weight).source; }
  // The value with this NACELLE_OUTPUT_*, or NACELLE_NO_VALUE.
  std::uint32_t find_output(std::uint32_t output) const noexcept;

 private:
  GraphRecord record_;
  std::vector<nacelle_op> ops_;
  std::vector<nacelle_weight> weights_;
  std::vector<const nacelle_value*> value_pointers_;
  std::vector<const nacelle_op*> op_pointers_;
  std::vector<const nacelle_weight*> weight_pointers_;
  std::vector<const nacelle_cache_group*> group_pointers_;
  nacelle_graph view_;
};

}  // namespace nacelle::sdk
