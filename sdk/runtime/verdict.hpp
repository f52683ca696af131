// What nacelle-conformance found about a plugin, kept beside it as PLUGIN.so.verdict: a few lines of text that name the
// file by its content, so that a plugin which was built again is unverified again.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace nacelle::sdk {

struct Verdict {
  std::string content;  // content_hash() of the plugin
  bool passed = false;
  unsigned checks_passed = 0, checks_failed = 0, checks_skipped = 0;
  std::string failure;  // the first one
};

// "PLUGIN.so.verdict"
std::filesystem::path verdict_path(const std::filesystem::path& plugin);
// False where the file cannot be written.
bool write_verdict(const std::filesystem::path& file, const Verdict& verdict);
// Nothing where there is no such file, or it is none of ours.
std::optional<Verdict> read_verdict(const std::filesystem::path& file);

// "verified", "unverified" (no verdict, or one about another build) or "failed (12 checks; FIRST)". Reads the whole
// plugin where there is a verdict.
std::string verdict_of(const std::filesystem::path& plugin);

}  // namespace nacelle::sdk
