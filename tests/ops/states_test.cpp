// Steps that name a state which the cache does not have: backends that run here refuse them, and go on as if nothing
// had been asked.
#include <catch2/catch.hpp>
#include <functional>
#include <vector>

#include "sdk/conformance/grown_cases.hpp"
#include "sdk/conformance/host.hpp"
#include "sdk/conformance/session.hpp"

namespace nacelle::conformance {
namespace {

std::uint32_t& word_at(std::byte* block, std::uint64_t offset, std::size_t index = 0) {
  return reinterpret_cast<std::uint32_t*>(block + offset)[index];
}

}  // namespace

TEST_CASE("a state that is not there is refused, and the next step runs") {
  for (const char* plugin : {NACELLE_REFERENCE_PLUGIN, NACELLE_CPU_PLUGIN}) {
    INFO(plugin);
    Backend backend(plugin, 0);
    const Case of = recurrent_decoder();
    Session session(backend, of, {{{0, 0, 4}, {1, 0, 2}}}), untouched(backend, of, {{{0, 0, 4}, {1, 0, 2}}});
    const StepInput first{{{0, 0, 4}, {1, 0, 2}}}, next{{{0, 4, 2}, {1, 2, 1}}};
    REQUIRE(session.run(first).result == untouched.run(first).result);
    const std::uint32_t count = session.cache_options().block_counts[0];
    const std::uint32_t width = session.step_layout().table_width, sequences = session.bucket().sequences;
    // Of the second sequence, in the first group and in the last; ids just behind the cache's, and far away.
    for (const std::uint32_t group : {0u, session.graph().cache_group_count - 1})
      for (const std::uint32_t id : {count, 0xfffffff0u, std::uint32_t{NACELLE_NO_VALUE}}) {
        INFO("group " << group << " id " << id);
        StepInput bad = next;
        bad.damage = [=](std::byte* block, const nacelle_step_layout& at) {
          word_at(block, at.block_tables, (std::size_t{group} * sequences + 1) * width) = id;
        };
        CHECK(session.try_run(bad) == NACELLE_INVALID_ARGUMENT);
        take_logged_error();
      }
    // The reference has found what it refuses only when it came to it: its states are those of a step that was begun.
    if (!backend.is_reference()) CHECK(session.run(next).result == untouched.run(next).result);
    CHECK(session.run(first).result == untouched.run(first).result);
  }
}

}  // namespace nacelle::conformance
