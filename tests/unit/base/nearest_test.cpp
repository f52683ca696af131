// What a misspelled name most likely meant.
#include "core/base/nearest.hpp"

#include <catch2/catch.hpp>

using namespace nacelle;

TEST_CASE("the nearest name is suggested, where one is near") {
  const std::vector<std::string> names = {"port", "host", "max-queue", "manage-port"};
  CHECK(nearest("prot", names) == "port");
  CHECK(nearest("max_queue", names) == "max-queue");
  CHECK(nearest("manag-port", names) == "manage-port");
  CHECK(nearest("max-queue", names) == "max-queue");
  CHECK(nearest("temperature", names).empty());
  CHECK(did_you_mean("prot", names) == "; did you mean 'port'?");
  CHECK(did_you_mean("temperature", names).empty());
}

TEST_CASE("nothing is suggested that has no byte in common, or is far longer or shorter") {
  CHECK(nearest("a", {"n"}).empty());
  CHECK(nearest("", {"n", ""}).empty());
  CHECK(nearest("q4", {"q8_0", "q4_0"}) == "q4_0");
  CHECK(nearest(std::string(1 << 20, 'x'), {"max_tokens", "x"}).empty());
}
