// The three things that are checked: results against the reference, rows against themselves in other batches, and the
// rules of the ABI.
#pragma once

#include <string>

#include "sdk/conformance/report.hpp"
#include "sdk/conformance/session.hpp"

namespace nacelle::conformance {

struct Run {
  Backend& backend;
  Backend* reference;  // nullptr where the backend is the reference: it is held against NumPy alone
  Report& report;
  std::string op;  // only cases with this operation; empty: all
  bool wants(const Case& of) const;
};

// Every case once; those with stored results against NumPy, the others against the reference.
void check_results(const Run& run);
// A row's bits do not depend on the batch or chunk it came in, nor on the number of threads.
void check_rows(const Run& run);
// Refusals, sizes, tokens of the previous step, copied blocks, padding, broken step blocks. Not with an --op.
void check_contract(const Run& run);

// A part of it: plans beside and after each other, functions called from many threads, what is left at the end.
void check_plans(const Run& run);

// Times and rates of a few large cases, for people: measured, not judged.
void print_speed(Backend& backend);

// All cases of check_results: those with stored results first.
std::vector<Case> all_cases();

}  // namespace nacelle::conformance
