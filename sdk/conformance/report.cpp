#include "sdk/conformance/report.hpp"

#include <algorithm>
#include <cstdio>
#include <map>
#include <nacelle/plugin.hpp>
#include <nlohmann/json.hpp>
#include <utility>

#include "sdk/runtime/names.hpp"

namespace nacelle::conformance {
namespace {

constexpr const char* kOutcomes[] = {"passed", "failed", "skipped"};

// The cases of one operation and type together.
struct Row {
  unsigned passed = 0, failed = 0, skipped = 0;
  double share = 0, seconds = 0;
  void add(const Entry& entry) {
    ++(entry.outcome == Outcome::kPassed ? passed : entry.outcome == Outcome::kFailed ? failed : skipped);
    share = std::max(share, entry.share);
    seconds += entry.seconds;
  }
};

std::map<std::pair<std::string, std::string>, Row> by_operation(const std::vector<Entry>& entries) {
  std::map<std::pair<std::string, std::string>, Row> rows;
  for (const Entry& entry : entries)
    if (entry.check == "results") rows[{entry.op, entry.type}].add(entry);
  return rows;
}

}  // namespace

std::string subject_name(const Case& of) { return of.subject == kDecoder ? "decoder" : sdk::op_name(of.subject); }

void Report::add(Entry entry) {
  if (entry.outcome == Outcome::kSkipped && entry.required) {
    entry.outcome = Outcome::kFailed;
    entry.note = "skipped, but required of every backend: " + entry.note;
  }
  if (loud_ && entry.outcome == Outcome::kFailed)
    std::printf("FAILED %s: %s: %s\n", entry.check.c_str(), entry.name.c_str(), entry.note.c_str());
  entries_.push_back(std::move(entry));
}

bool Report::passed() const {
  return std::none_of(entries_.begin(), entries_.end(),
                      [](const Entry& entry) { return entry.outcome == Outcome::kFailed; });
}

void Report::print_text(const Backend& backend) const {
  std::printf("%-16s %-8s %6s %6s %7s %9s %10s\n", "OPERATION", "TYPE", "PASSED", "FAILED", "SKIPPED", "OF BOUND",
              "TIME");
  for (const auto& [key, row] : by_operation(entries_))
    std::printf("%-16s %-8s %6u %6u %7u %8.2f%% %7.0f us\n", key.first.c_str(), key.second.c_str(), row.passed,
                row.failed, row.skipped, 100 * row.share, 1e6 * row.seconds);
  unsigned counts[3] = {};
  std::string skipped;
  for (const Entry& entry : entries_) {
    ++counts[static_cast<std::size_t>(entry.outcome)];
    if (entry.outcome == Outcome::kSkipped && entry.check == "results") skipped += "\n  " + entry.name;
  }
  if (!skipped.empty()) std::printf("not supported, which is allowed:%s\n", skipped.c_str());
  std::printf("%s %s, device %u (%s): %u checks passed, %u failed, %u skipped\n", backend.name().c_str(),
              backend.version().c_str(), backend.device_index(), std::string(sdk::view(backend.info().name)).c_str(),
              counts[0], counts[1], counts[2]);
}

void Report::print_json(const Backend& backend) const {
  auto checks = nlohmann::ordered_json::array();
  for (const Entry& entry : entries_) {
    nlohmann::ordered_json one = {{"check", entry.check}, {"name", entry.name}};
    if (!entry.op.empty()) one.update({{"op", entry.op}, {"type", entry.type}});
    one["outcome"] = kOutcomes[static_cast<std::size_t>(entry.outcome)];
    one["required"] = entry.required;
    if (entry.check == "results" && entry.outcome != Outcome::kSkipped)
      one.update({{"share_of_bound", entry.share}, {"seconds", entry.seconds}});
    if (!entry.note.empty()) one["note"] = entry.note;
    checks.push_back(std::move(one));
  }
  const nlohmann::ordered_json document = {{"backend", backend.name()},
                                           {"version", backend.version()},
                                           {"device", backend.device_index()},
                                           {"device_name", sdk::view(backend.info().name)},
                                           {"passed", passed()},
                                           {"checks", std::move(checks)}};
  std::puts(document.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace).c_str());
}

}  // namespace nacelle::conformance
