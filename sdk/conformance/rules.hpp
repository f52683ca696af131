// Rules that are not about numbers: one function a rule, which throws Breach with what was seen.
#pragma once

#include <nacelle/plugin.h>

#include <functional>
#include <stdexcept>
#include <string>

#include "sdk/conformance/host.hpp"
#include "sdk/conformance/report.hpp"
#include "sdk/runtime/names.hpp"

namespace nacelle::conformance {

struct Breach : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void expect(bool condition, const std::string& otherwise) {
  if (!condition) throw Breach(otherwise);
}

inline void expect_status(nacelle_status status, nacelle_status wanted, const std::string& what) {
  expect(status == wanted, what + " answers " + sdk::status_name(status) + ", not " + sdk::status_name(wanted));
}

// A refusal: any status but OK, with a message. `error` is read only now, after the call has set it.
inline void expect_refusal(nacelle_status status, nacelle_error*& error, const std::string& what) {
  const std::string message = take_message(error);
  error = nullptr;
  expect(status != NACELLE_OK, what + " is accepted");
  expect(!message.empty(), what + " is refused without a message");
}

template <class... Subjects>
struct Rule {
  const char* name;
  void (*check)(Subjects...);
};

inline void check_rule(const char* check, const std::string& name, Report& report, const std::function<void()>& body) {
  report.begin(std::string(check) + ": " + name);
  Entry entry;
  entry.check = check;
  entry.name = name;
  try {
    body();
  } catch (const std::exception& error) {
    entry.outcome = Outcome::kFailed;
    entry.note = error.what();
  }
  take_logged_error();
  report.add(std::move(entry));
}

template <class Rules, class... Subjects>
void check_rules(const char* check, const Rules& rules, Report& report, Subjects&... subjects) {
  for (const auto& rule : rules) check_rule(check, rule.name, report, [&] { rule.check(subjects...); });
}

}  // namespace nacelle::conformance
