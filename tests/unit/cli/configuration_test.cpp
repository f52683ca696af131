// Names of settings.
#include "api/cli/configuration.hpp"

#include <catch2/catch.hpp>

using namespace nacelle::cli;

TEST_CASE("a setting's variable") { CHECK(environment_name("max-queue") == "NACELLE_MAX_QUEUE"); }
