// What was checked and how it went: text for people, JSON for programs.
#pragma once

#include <string>
#include <vector>

#include "sdk/conformance/session.hpp"

namespace nacelle::conformance {

enum class Outcome { kPassed, kFailed, kSkipped };

struct Entry {
  std::string check;     // "results", "rows", "contract"
  std::string name;      // of the case or rule
  std::string op, type;  // what the case is about; empty for rules
  bool required = true;
  Outcome outcome = Outcome::kPassed;
  double share = 0;    // results: the error by its bound; 1 is just at it
  double seconds = 0;  // results: the case's last step, best of three; 0: not measured
  std::string note;    // why it failed or was skipped
};

class Report {
 public:
  // Failures are told at once on standard output where `loud`.
  explicit Report(bool loud) : loud_(loud) {}
  void add(Entry entry);
  // A required case that was skipped is a failure.
  bool passed() const;
  const std::vector<Entry>& entries() const { return entries_; }

  void print_text(const Backend& backend) const;
  void print_json(const Backend& backend) const;

 private:
  bool loud_;
  std::vector<Entry> entries_;
};

// "matmul", "decoder".
std::string subject_name(const Case& of);

}  // namespace nacelle::conformance
