// What the reference does beyond the contract: it names the rule that a step block breaks, and what it cannot do.
#include <catch2/catch.hpp>

#include "tests/ops/broken_steps.hpp"

namespace nacelle::conformance {
namespace {

Backend& reference() {
  static Backend backend(NACELLE_REFERENCE_PLUGIN, 0);
  return backend;
}

}  // namespace

TEST_CASE("the reference names the rule that a step block breaks, and goes on") {
  check_broken_steps(reference(), "token 23", "output row 77");
}

TEST_CASE("what the reference cannot do is refused by name") {
  Case weight("unknown weight type");
  const std::uint32_t w = weight.weight(NACELLE_TYPE_I8, {4, 256}, 1);
  weight.set_result(weight.op(NACELLE_OP_MATMUL, {weight.rows(256, 2), w})[0]);
  weight.steps = in_chunks(1, 1);
  CHECK_FALSE(reference().refusal(weight).empty());
  CHECK(mentions(failure_of(reference(), weight), "does not support operation matmul"));

  Case cache = tiny_decoder(NACELLE_TYPE_F32, NACELLE_TYPE_F32);
  cache.steps = in_chunks(1, 1);
  cache.key_type = NACELLE_TYPE_Q6_K;
  CHECK(mentions(failure_of(reference(), cache), "cannot hold keys as Q6_K"));

  Case cross = tiny_decoder(NACELLE_TYPE_F32, NACELLE_TYPE_F32);
  cross.steps = in_chunks(1, 1);
  cross.cache_group(64, 0);
  cross.set_group_kind(2, NACELLE_CACHE_CROSS);
  CHECK(mentions(failure_of(reference(), cross), "cache group 2 is of kind 3; only paged groups (1) and states (2)"));
  CHECK(allocated_bytes() == 0);
}

}  // namespace nacelle::conformance
