// The builder that the host hands to an architecture: records what is called through nacelle_graph_builder, checks
// every operation, weight and layer border, and gives out an immutable Graph.
#pragma once

#include <nacelle/graph.h>

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "cache_use.hpp"
#include "graph.hpp"
#include "weight_expr.hpp"

namespace nacelle::sdk {

// What the engine gives for each row, or each output row: NACELLE_INPUT_*, which must be known.
nacelle_value input_value(std::uint32_t role);

// Serial; one builder a model. Nothing passed in through the table is kept.
class GraphBuilder {
 public:
  // `lookup` tells type and stored shape of the file's tensors, `states` what bitsandbytes says of some; they are
  // called until build() returns.
  explicit GraphBuilder(TensorLookup lookup, StateLookup states = {});
  GraphBuilder(const GraphBuilder&) = delete;
  GraphBuilder& operator=(const GraphBuilder&) = delete;

  // For the architecture; valid while the builder lives. Its functions never throw.
  const nacelle_graph_builder* table() const noexcept { return &table_; }

  bool failed() const noexcept { return failed_; }
  // One line: the first thing that was wrong, or empty.
  const std::string& error() const noexcept { return error_; }

  // The host, once the architecture is done: appends LOGITS_SELECT on the value marked NACELLE_OUTPUT_LOGITS. Does
  // nothing for graphs without logits (encoders).
  void add_logits_select();
  // The host: marks what the head makes the logits of, the last hidden rows after the last norm, as
  // NACELLE_OUTPUT_EMBEDDING. Does nothing where the architecture marked one, or there is no head.
  void add_embedding();

  // Hands over what was recorded. Throws Failure with error(), or with what is missing (no output, an open layer, a
  // layer of a cache group that nobody uses, attention without a cache in a graph that is cut into chunks). Call once.
  std::unique_ptr<Graph> build();

 private:
  template <class Body>
  nacelle_status guarded(Body&& body) noexcept;
  std::uint32_t input(std::uint32_t role);
  std::uint32_t weight(const nacelle_weight_description& description);
  std::uint32_t cache_group(const nacelle_cache_group& group);
  void layer_begin(std::uint32_t layer, const std::uint32_t* carried, std::uint32_t count);
  void layer_end();
  void op(const nacelle_op& op, const std::int64_t* split_widths, std::uint32_t* outputs);
  void mark_output(std::uint32_t value, std::uint32_t output);
  void set_flags(std::uint32_t flags);

  std::uint32_t add_value(const nacelle_value& value);
  const nacelle_value* use(std::uint32_t value) const;
  void claim_cache(CacheUse use);
  void check_complete() const;
  std::string place() const;

  TensorLookup lookup_;
  StateLookup states_;
  nacelle_graph_builder table_;
  GraphRecord record_;
  std::vector<std::int32_t> last_sections_;  // where a value may be used last, by value id
  std::vector<std::uint32_t> inputs_;        // value id by role, NACELLE_NO_VALUE where not yet asked for
  std::set<std::string, std::less<>> weight_names_;
  std::vector<std::vector<bool>> cache_used_;  // by group, by layer
  std::int32_t section_ = -1;
  bool in_layer_ = false;
  bool after_layers_ = false;
  bool failed_ = false;
  std::string error_;
};

}  // namespace nacelle::sdk
