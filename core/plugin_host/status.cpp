// From the ABI's statuses to the host's exceptions.
#include <nacelle/plugin.hpp>

#include "core/base/error.hpp"
#include "core/plugin_host/plugin_host.hpp"

namespace nacelle {
namespace {

struct StatusText {
  ErrorKind kind;
  const char* text;
};

// In the order of nacelle_status.
constexpr StatusText kStatuses[] = {
    {ErrorKind::kInternal, "ok"},
    {ErrorKind::kInvalidArgument, "an argument is invalid"},
    {ErrorKind::kUnsupported, "not implemented by this plugin"},
    {ErrorKind::kNotFound, "not found"},
    {ErrorKind::kResource, "out of memory"},
    {ErrorKind::kUnavailable, "unavailable"},
    {ErrorKind::kUnavailable, "the device was lost"},
    {ErrorKind::kInternal, "called in the wrong order"},
    {ErrorKind::kUnavailable, "cancelled"},
    {ErrorKind::kInternal, "internal error of the plugin"},
};

// A plugin's messages begin with its name, as `what` does: once will do.
std::string_view without_name(std::string_view message, std::string_view what) {
  const std::string name = std::string(what.substr(0, what.find(':'))) + ": ";
  if (message.starts_with(name)) message.remove_prefix(name.size());
  return message;
}

}  // namespace

void check(const nacelle_host* services, nacelle_status status, nacelle_error* error, std::string_view what) {
  std::string message(what);
  if (error) {
    // A plugin that reports success and an error at once: the error is dropped, the status counts.
    message += ": ";
    message += without_name(sdk::view(services->error_message(services->context, error)), what);
    services->error_destroy(services->context, error);
  }
  if (status == NACELLE_OK) return;
  const bool known = status < std::size(kStatuses);
  if (!error) message += known ? ": " + std::string(kStatuses[status].text) : ": status " + std::to_string(status);
  throw Error(known ? kStatuses[status].kind : ErrorKind::kInternal, message);
}

void check_made(const void* made, std::string_view what) {
  if (!made)
    throw Error(ErrorKind::kInternal, std::string(what) + " gave NACELLE_OK and NULL, which is a defect of the plugin");
}

}  // namespace nacelle
