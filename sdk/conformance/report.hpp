// What was checked and how it went: text for people, JSON for programs.
#pragma once

#include <string>
#include <vector>

#include "sdk/conformance/case.hpp"

namespace nacelle::conformance {

enum class Outcome { kPassed, kFailed, kSkipped };

struct Entry {
  std::string check;     // "results", "rows", "contract", "plugin", "model"
  std::string name;      // of the case or rule
  std::string op, type;  // what the case is about; empty for rules
  bool required = true;
  Outcome outcome = Outcome::kPassed;
  double share = 0;    // results: the error by its bound; 1 is just at it
  double seconds = 0;  // results: the case's last step, best of three; 0: not measured
  std::string note;    // why it failed or was skipped
};

// How far a run is, in plain memory that another process can read: it survives a crash of this one.
struct Progress {
  char at[200] = {};  // what is being checked
  char failure[400] = {};
  unsigned passed = 0, failed = 0, skipped = 0;
};

// Whom a report is about.
struct Subject {
  std::string kind, name, version;  // "backend"
  std::string device;               // "device 0 (AMD EPYC 9B45)"; empty for an architecture
};

class Report {
 public:
  // Failures are told at once on standard output where `loud`.
  explicit Report(bool loud, Progress* progress = nullptr) : loud_(loud), progress_(progress) {}
  // What is checked next, for whoever has to explain a crash.
  void begin(const std::string& what);
  void add(Entry entry);
  // A required case that was skipped is a failure.
  bool passed() const;
  const std::vector<Entry>& entries() const { return entries_; }

  void print_text(const Subject& subject) const;
  void print_json(const Subject& subject) const;

 private:
  void count(const Entry& entry);
  void print_operations() const;

  bool loud_;
  Progress* progress_;
  std::vector<Entry> entries_;
};

// "matmul", "decoder".
std::string subject_name(const Case& of);

}  // namespace nacelle::conformance
