// plugin new: a project for a plugin, made of the files of share/nacelle/template with the name filled in.
#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "api/cli/commands.hpp"
#include "core/base/error.hpp"
#include "core/plugin_host/plugin_host.hpp"

namespace nacelle::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPlaceholder = "@NAME@";
constexpr std::size_t kLongestName = sizeof(nacelle_manifest::name) - 1;
// Targets that CMake and its generators make themselves.
constexpr std::array<std::string_view, 12> kTakenNames = {"all",
                                                          "clean",
                                                          "depend",
                                                          "edit_cache",
                                                          "help",
                                                          "install",
                                                          "package",
                                                          "package_source",
                                                          "preinstall",
                                                          "rebuild_cache",
                                                          "list_install_components",
                                                          "test"};

[[noreturn]] void refuse(const std::string& message) {
  throw Error(ErrorKind::kInvalidArgument, "plugin new: " + message, "name");
}

// The folder that the program was installed under, or its build tree's.
fs::path prefix() {
  std::error_code code;
  return fs::read_symlink("/proc/self/exe", code).parent_path().parent_path();
}

void check_name(const std::string& name, const std::string& kind) {
  const auto is_plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-'; };
  if (name.empty() || name[0] < 'a' || name[0] > 'z' || !std::all_of(name.begin(), name.end(), is_plain))
    refuse("the name '" + name + "' must begin with a letter a-z and hold a-z, 0-9, '_' and '-' only");
  if (name.size() > kLongestName)
    refuse("the name '" + name + "' is longer than " + std::to_string(kLongestName) + " characters");
  if (std::find(kTakenNames.begin(), kTakenNames.end(), name) != kTakenNames.end())
    refuse("CMake keeps the name '" + name + "' for itself; choose another");
  const std::string library = "libnacelle_" + std::string(kind == "backend" ? "backend_" : "arch_") + name + ".so";
  if (fs::exists(prefix() / "lib/nacelle/plugins" / library))
    refuse("Nacelle has a plugin '" + name + "' already; choose another name");
}

std::string filled(const fs::path& file, const std::string& name) {
  std::ifstream in(file, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(in), {}};
  if (!in) throw Error(ErrorKind::kNotFound, "plugin new: cannot read " + file.string());
  for (std::size_t at = 0; (at = text.find(kPlaceholder, at)) != std::string::npos; at += name.size())
    text.replace(at, kPlaceholder.size(), name);
  return text;
}

void write(const fs::path& file, const std::string& text) {
  std::ofstream out(file, std::ios::binary);
  out << text;
  if (!out.flush()) throw Error(ErrorKind::kResource, "plugin new: cannot write " + file.string());
}

}  // namespace

int run_command(const PluginOptions& options) {
  if (options.kind != "backend" && options.kind != "architecture")
    refuse("'" + options.kind + "' is no kind of plugin; there are backend and architecture");
  check_name(options.name, options.kind);
  const fs::path from = prefix() / "share/nacelle/template" / options.kind, to = options.name;
  if (!fs::is_directory(from))
    throw Error(ErrorKind::kNotFound, "plugin new: there is no " + from.string() + ", which is installed with the SDK");
  if (fs::exists(fs::symlink_status(to))) refuse(to.string() + " is there already; nothing was written");
  std::error_code code;
  if (!fs::create_directory(to, code))
    throw Error(ErrorKind::kResource, "plugin new: cannot make the folder " + to.string() + ": " + code.message());
  for (const fs::directory_entry& file : fs::directory_iterator(from)) {
    const fs::path target = to / file.path().filename();
    write(target, filled(file.path(), options.name));
    fs::permissions(target, file.status().permissions() & fs::perms::owner_exec, fs::perm_options::add);
  }
  std::printf(
      "%s/ is a project of kind %s that builds and works; FILL IN marks what is yours. Next:\n"
      "  cd %s && cmake -S . -B build -DCMAKE_PREFIX_PATH=%s && cmake --build build\n"
      "  %s/bin/nacelle-conformance build/%s.so\n",
      options.name.c_str(), options.kind.c_str(), options.name.c_str(), prefix().c_str(), prefix().c_str(),
      options.name.c_str());
  return 0;
}

}  // namespace nacelle::cli
