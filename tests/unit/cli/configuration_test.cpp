// Names of settings.
#include "api/cli/configuration.hpp"

#include <catch2/catch.hpp>

using namespace nacelle::cli;

TEST_CASE("the nearest setting is suggested, where one is near") {
  const std::vector<std::string> names = {"port", "host", "max-queue", "manage-port"};
  CHECK(nearest("prot", names) == "port");
  CHECK(nearest("max_queue", names) == "max-queue");
  CHECK(nearest("manag-port", names) == "manage-port");
  CHECK(nearest("max-queue", names) == "max-queue");
  CHECK(nearest("temperature", names).empty());
  CHECK(environment_name("max-queue") == "NACELLE_MAX_QUEUE");
}
