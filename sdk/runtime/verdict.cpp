#include "sdk/runtime/verdict.hpp"

#include <algorithm>
#include <fstream>
#include <nacelle/plugin.hpp>
#include <system_error>

#include "sdk/runtime/content_hash.hpp"

namespace nacelle::sdk {
namespace {

constexpr const char* kMagic = "nacelle-verdict 1";

// A line that cannot end early or run on.
std::string one_line(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }, ' ');
  return text.substr(0, 400);
}

}  // namespace

std::filesystem::path verdict_path(const std::filesystem::path& plugin) { return plugin.string() + ".verdict"; }

bool write_verdict(const std::filesystem::path& file, const Verdict& verdict) {
  const std::filesystem::path temporary = file.string() + ".new";
  std::ofstream out(temporary);
  out << kMagic << "\ncontent " << verdict.content << "\nresult " << (verdict.passed ? "passed" : "failed")
      << "\npassed " << verdict.checks_passed << "\nfailed " << verdict.checks_failed << "\nskipped "
      << verdict.checks_skipped << "\nfailure " << one_line(verdict.failure) << '\n';
  out.close();
  std::error_code code;
  if (out) std::filesystem::rename(temporary, file, code);
  return out && !code;
}

std::optional<Verdict> read_verdict(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::string line, key, result;
  if (!std::getline(in, line) || line != kMagic) return std::nullopt;
  Verdict verdict;
  in >> key >> verdict.content >> key >> result >> key >> verdict.checks_passed >> key >> verdict.checks_failed >>
      key >> verdict.checks_skipped >> key;
  if (!in || (result != "passed" && result != "failed")) return std::nullopt;
  verdict.passed = result == "passed";
  in.get();
  std::getline(in, verdict.failure);
  verdict.failure = one_line(verdict.failure);
  return verdict;
}

std::string verdict_of(const std::filesystem::path& plugin) {
  const auto verdict = read_verdict(verdict_path(plugin));
  if (!verdict) return "unverified";
  try {
    if (verdict->content != content_hash(plugin)) return "unverified";
  } catch (const Failure&) {
    return "unverified";
  }
  if (verdict->passed) return "verified";
  return "failed (" + std::to_string(verdict->checks_failed) + " checks; " + verdict->failure + ")";
}

}  // namespace nacelle::sdk
