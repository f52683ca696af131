// Step blocks that break a rule each, for the backends that look at all of them: nacelle-conformance asks for less.
#pragma once

#include <catch2/catch.hpp>
#include <functional>
#include <string>
#include <vector>

#include "sdk/conformance/grown_cases.hpp"
#include "sdk/conformance/host.hpp"
#include "sdk/conformance/session.hpp"

namespace nacelle::conformance {

inline bool mentions(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// Why the backend does not take the case; empty where it does.
inline std::string failure_of(Backend& backend, const Case& of) {
  try {
    Session session(backend, of, of.steps);
    return {};
  } catch (const std::runtime_error& error) {
    return error.what();
  }
}

// The log must name the rule that is broken, and the next step must run as ever. `token` and `row` are the backend's
// words for token 23, which is past the vocabulary, and for a token from output row 77 of the step before.
inline void check_broken_steps(Backend& backend, const char* token, const char* row) {
  const auto word = [](std::byte* block, std::uint64_t offset, std::size_t index) -> std::uint32_t& {
    return reinterpret_cast<std::uint32_t*>(block + offset)[index];
  };
  struct BrokenRule {
    const char* rule;
    std::uint64_t nacelle_step_layout::*array;
    std::size_t index;
    std::uint32_t value;
  };
  using At = nacelle_step_layout;
  const BrokenRule rules[] = {
      {"version", &At::header, 0, 2},
      {"rows", &At::header, 1, 1000},
      {"sequences", &At::header, 2, 0xffffffff},
      {"output rows", &At::header, 3, 9},
      {"sequence_starts", &At::sequence_starts, 1, 70},
      {"row_sequences", &At::row_sequences, 0, 5},
      {"a position", &At::positions, 0, 500},
      {"the bucket", &At::sequence_lengths, 0, 5000},
      {"no valid block", &At::block_tables, 0, 0xfffffff0},
      {"an output row", &At::output_rows, 0, 4},
      {"adjustment_starts", &At::adjustment_starts, 1, 99},
      {token, &At::tokens, 0, 23},
      {row, &At::tokens, 0, NACELLE_TOKEN_FROM_PREVIOUS | 77},
  };
  const Case of = tiny_decoder(NACELLE_TYPE_F32, NACELLE_TYPE_F32);
  Session session(backend, of, {{{0, 0, 4}}});
  const StepInput good{{{0, 0, 4}}};
  const std::vector<float> expected = session.run(good).result;
  for (const BrokenRule& broken : rules) {
    StepInput bad = good;
    bad.damage = [&](std::byte* block, const nacelle_step_layout& at) {
      word(block, at.*broken.array, broken.index) = broken.value;
    };
    INFO(broken.rule);
    CHECK(session.try_run(bad) == NACELLE_INVALID_ARGUMENT);
    const std::string logged = take_logged_error();
    INFO(logged);
    CHECK(mentions(logged, broken.rule));
  }
  CHECK(session.run(good).result == expected);
}

}  // namespace nacelle::conformance
