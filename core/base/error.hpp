// The one exception type of the host. Thrown while loading and while a request is set up, never on the per-token path;
// api/ turns it into an HTTP answer or a line on standard error.
#pragma once

#include <chrono>
#include <stdexcept>
#include <string>
#include <utility>

namespace nacelle {

// What went wrong, in terms a caller can act on. Each kind maps to one HTTP status and one exit code in api/.
enum class ErrorKind {
  kInvalidArgument,  // the caller's request or flag is wrong
  kNotFound,         // a file, model or name does not exist
  kUnsupported,      // well-formed, but nothing here can do it
  kCorrupt,          // a file's bytes contradict its format
  kResource,         // memory, disk or a limit is exhausted
  kUnavailable,      // a device or service cannot be used now
  kInternal,         // a defect of ours
  kTimeout,          // it took longer than the caller allowed
};

class Error : public std::runtime_error {
 public:
  // `message` is one line: what, where, what was expected, what to do. `param` names the request field or flag at
  // fault.
  Error(ErrorKind kind, const std::string& message, std::string param = {})
      : std::runtime_error(message), kind_(kind), param_(std::move(param)) {}

  ErrorKind kind() const noexcept { return kind_; }
  const std::string& param() const noexcept { return param_; }

 private:
  ErrorKind kind_;
  std::string param_;
};

// kResource: a queue is full now, and will have room again.
class BusyError : public Error {
 public:
  BusyError(const std::string& message, std::chrono::seconds retry_after)
      : Error(ErrorKind::kResource, message), retry_after_(retry_after) {}
  std::chrono::seconds retry_after() const noexcept { return retry_after_; }

 private:
  std::chrono::seconds retry_after_;
};

// A stable lower-case word for logs and JSON: "invalid_argument", "corrupt", ...
const char* to_string(ErrorKind kind) noexcept;

}  // namespace nacelle
