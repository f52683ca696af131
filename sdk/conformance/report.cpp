#include "sdk/conformance/report.hpp"

#include <algorithm>
#include <cstdio>
#include <iterator>
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
  if (progress_) count(entry);
  entries_.push_back(std::move(entry));
}

void Report::begin(const std::string& what) {
  if (progress_) std::snprintf(progress_->at, sizeof progress_->at, "%s", what.c_str());
}

void Report::count(const Entry& entry) {
  ++(entry.outcome == Outcome::kPassed   ? progress_->passed
     : entry.outcome == Outcome::kFailed ? progress_->failed
                                         : progress_->skipped);
  if (entry.outcome != Outcome::kFailed || progress_->failure[0]) return;
  std::snprintf(progress_->failure, sizeof progress_->failure, "%s: %s", entry.name.c_str(), entry.note.c_str());
}

bool Report::passed() const {
  return std::none_of(entries_.begin(), entries_.end(),
                      [](const Entry& entry) { return entry.outcome == Outcome::kFailed; });
}

// The table of a backend's operations: empty for an architecture.
void Report::print_operations() const {
  std::printf("%-16s %-8s %6s %6s %7s %9s %10s\n", "OPERATION", "TYPE", "PASSED", "FAILED", "SKIPPED", "OF BOUND",
              "TIME");
  for (const auto& [key, row] : by_operation(entries_))
    std::printf("%-16s %-8s %6u %6u %7u %8.2f%% %7.0f us\n", key.first.c_str(), key.second.c_str(), row.passed,
                row.failed, row.skipped, 100 * row.share, 1e6 * row.seconds);
  std::string skipped;
  unsigned cases = 0, claimed = 0;
  for (const Entry& entry : entries_) {
    if (entry.check != "results") continue;
    ++cases;
    claimed += entry.outcome != Outcome::kSkipped;
    if (entry.outcome == Outcome::kSkipped) skipped += "\n  " + entry.name;
  }
  std::printf("claimed: %u of %u cases; those that every backend must run count as failed where they are not\n",
              claimed, cases);
  if (!skipped.empty()) std::printf("not supported, which is allowed:%s\n", skipped.c_str());
}

void Report::print_text(const Subject& subject) const {
  if (!by_operation(entries_).empty()) print_operations();
  unsigned counts[3] = {};
  for (const Entry& entry : entries_) {
    ++counts[static_cast<std::size_t>(entry.outcome)];
    if (entry.outcome == Outcome::kSkipped && entry.check == "model")
      std::printf("skipped: %s: %s\n", entry.name.c_str(), entry.note.c_str());
  }
  std::printf("%s %s%s%s: %u checks passed, %u failed, %u skipped\n", subject.name.c_str(), subject.version.c_str(),
              subject.device.empty() ? "" : ", ", subject.device.c_str(), counts[0], counts[1], counts[2]);
}

void Report::print_json(const Subject& subject) const {
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
  const nlohmann::ordered_json document = {{"kind", subject.kind},       {"name", subject.name},
                                           {"version", subject.version}, {"device", subject.device},
                                           {"passed", passed()},         {"checks", std::move(checks)}};
  std::puts(document.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace).c_str());
}

}  // namespace nacelle::conformance
