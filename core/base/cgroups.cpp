// cgroup v1 and v2, also side by side; see cgroups(7) and Documentation/admin-guide/cgroup-v2.rst.
#include "core/base/cgroups.hpp"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>
#include <string_view>
#include <vector>

#include "core/base/first_line.hpp"

namespace nacelle {

namespace fs = std::filesystem;

std::optional<std::int64_t> parse_integer(std::string_view text) {
  std::int64_t value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc() || result.ptr == text.data()) return std::nullopt;
  return value;
}

std::optional<std::int64_t> read_integer(const fs::path& path) {
  const auto line = first_line(path);
  return line ? parse_integer(*line) : std::nullopt;
}

std::optional<std::uint64_t> read_limit(const fs::path& path) {
  const auto value = read_integer(path);
  if (!value || *value < 0 || *value >= std::int64_t{1} << 62) return std::nullopt;
  return static_cast<std::uint64_t>(*value);
}

namespace {

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

bool contains(const std::vector<std::string>& list, std::string_view item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

// One mounted hierarchy that holds a controller, and the folder of our own cgroup in it.
struct Hierarchy {
  fs::path mount;  // as seen from `root`
  fs::path own;    // at or below `mount`
};

// Our cgroup's path in the hierarchy of `controller` (v1), or in the unified one ("").
std::optional<std::string> own_path(const fs::path& root, std::string_view controller) {
  std::ifstream file(root / "proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {  // "4:cpu,cpuacct:/docker/1234", "0::/user.slice"
    const auto first = line.find(':');
    const auto second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (controller.empty() ? controllers.empty() : contains(split(controllers, ','), controller))
      return line.substr(second + 1);
  }
  return std::nullopt;
}

// Where `path` of /proc/self/cgroup lies below a mount that shows `mount_root` of the hierarchy. In a container without
// a cgroup namespace both carry the container's prefix; a path outside the mount means the mount's top is ours.
fs::path below_mount(const std::string& path, const std::string& mount_root) {
  std::string rest = path;
  if (mount_root != "/") {
    if (rest.compare(0, mount_root.size(), mount_root) != 0) return {};
    rest.erase(0, mount_root.size());
    if (!rest.empty() && rest[0] != '/') return {};
  }
  const fs::path relative = fs::path(rest).relative_path().lexically_normal();
  return relative.empty() || *relative.begin() == ".." ? fs::path() : relative;
}

// Finds the mount of `controller` (v1) or of cgroup2 ("") in /proc/self/mountinfo.
std::optional<Hierarchy> find_hierarchy(const fs::path& root, std::string_view controller) {
  const auto path = own_path(root, controller);
  if (!path) return std::nullopt;
  std::ifstream file(root / "proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    // id parent device ROOT MOUNT options [tags] - TYPE source SUPER_OPTIONS
    const auto dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    const auto before = split(line.substr(0, dash), ' ');
    const auto after = split(line.substr(dash + 3), ' ');
    if (before.size() < 5 || after.size() < 3) continue;
    const bool match =
        controller.empty() ? after[0] == "cgroup2" : after[0] == "cgroup" && contains(split(after[2], ','), controller);
    if (!match) continue;
    const fs::path mount = root / fs::path(before[4]).relative_path();
    const fs::path below = below_mount(*path, before[3]);
    return Hierarchy{mount, below.empty() ? mount : mount / below};
  }
  return std::nullopt;
}

void walk_up(const std::optional<Hierarchy>& hierarchy, bool unified, const CgroupVisitor& visit) {
  if (!hierarchy) return;
  for (fs::path folder = hierarchy->own;; folder = folder.parent_path()) {
    visit(folder, unified);
    if (folder == hierarchy->mount || !folder.has_relative_path()) return;
  }
}

}  // namespace

void walk_cgroups(const fs::path& root, std::string_view controller, const CgroupVisitor& visit) {
  walk_up(find_hierarchy(root, ""), true, visit);
  walk_up(find_hierarchy(root, controller), false, visit);
}

}  // namespace nacelle
