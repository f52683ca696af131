// The rule of ABI versions, as a table.
#include "sdk/runtime/abi_rule.hpp"

#include <catch2/catch.hpp>

using nacelle::sdk::abi_refusal;
using nacelle::sdk::AbiVersion;

TEST_CASE("which ABI versions a host takes") {
  struct Row {
    AbiVersion plugin, host;
    std::uint32_t floor;
    bool taken;
  };
  const Row rows[] = {
      // While the major is 0, the minor must match exactly.
      {{0, 1}, {0, 1}, 1, true},
      {{0, 0}, {0, 1}, 1, false},
      {{0, 2}, {0, 1}, 1, false},
      {{0, 1}, {0, 2}, 1, false},
      {{1, 1}, {0, 1}, 1, false},
      // From 1.0 on: the same major, a minor of at least the floor.
      {{1, 0}, {1, 4}, 0, true},
      {{1, 4}, {1, 4}, 2, true},
      {{1, 2}, {1, 4}, 2, true},
      {{1, 1}, {1, 4}, 2, false},
      {{1, 9}, {1, 4}, 2, true},
      {{0, 4}, {1, 4}, 0, false},
      {{2, 4}, {1, 4}, 0, false},
  };
  for (const Row& row : rows) {
    const std::string reason = abi_refusal("backend", row.plugin, row.host, row.floor);
    INFO(to_string(row.plugin) << " on a host of " << to_string(row.host) << ": '" << reason << "'");
    CHECK(reason.empty() == row.taken);
    if (row.taken) continue;
    CHECK(reason.find("backend ABI " + to_string(row.plugin)) != std::string::npos);
    CHECK(reason.find(row.host.major == 0 ? to_string(row.host) : to_string(AbiVersion{row.host.major, row.floor})) !=
          std::string::npos);
  }
}
