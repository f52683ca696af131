// The control groups that this process is in.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string_view>

namespace nacelle {

// A cgroup's folder, and whether it is of the unified hierarchy (v2).
using CgroupVisitor = std::function<void(const std::filesystem::path& folder, bool unified)>;

// Calls `visit` for our cgroup and each of its ancestors up to the mount, all of which limit us: first those of v2,
// then those of v1's hierarchy that holds `controller`. With /proc and the mounts under `root`. Any thread.
void walk_cgroups(const std::filesystem::path& root, std::string_view controller, const CgroupVisitor& visit);

// The number that the text begins with.
std::optional<std::int64_t> parse_integer(std::string_view text);
std::optional<std::int64_t> read_integer(const std::filesystem::path& path);
// The same of a limit in bytes: nothing where it says that there is none ("max"; v1: a number near 2^63).
std::optional<std::uint64_t> read_limit(const std::filesystem::path& path);

}  // namespace nacelle
