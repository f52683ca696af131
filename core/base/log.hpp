// The process's log: one line a message on standard error, as text or JSON. spdlog is hidden in log.cpp, so including
// this costs little. All functions are safe from any thread; a message below the level costs one relaxed load.
#pragma once

#include <fmt/core.h>

#include <initializer_list>
#include <string_view>
#include <type_traits>

namespace nacelle::log {

enum class Level { kTrace, kDebug, kInfo, kWarning, kError, kOff };  // as NACELLE_LOG_*, then silence
enum class Format { kText, kJson };

// "trace", "debug", "info", "warning", "error", "off". Throws Error(kInvalidArgument) that lists them.
Level parse_level(std::string_view name);
// "text" or "json".
Format parse_format(std::string_view name);

// Until this is called: info, text.
void configure(Level level, Format format);

// As configured.
Level level() noexcept;
Format format() noexcept;

bool enabled(Level level) noexcept;
// `component` names the plugin that speaks; empty for the host itself. Control characters are escaped: a message cannot
// forge a second line. Never throws.
void write(Level level, std::string_view message, std::string_view component = {}) noexcept;

// A field of event(): text, or a number. Empty text is left out.
class Field {
 public:
  Field(std::string_view name, std::string_view text) : name_(name), text_(text) {}
  template <class Number>
  requires std::is_arithmetic_v<Number> Field(std::string_view name, Number number)
      : name_(name), number_(static_cast<double>(number)), is_number_(true) {}

  std::string_view name() const noexcept { return name_; }
  std::string_view text() const noexcept { return text_; }
  double number() const noexcept { return number_; }
  bool is_number() const noexcept { return is_number_; }

 private:
  std::string_view name_, text_;
  double number_ = 0;
  bool is_number_ = false;
};

// What programs read: "message name=value ..." as text, members of the object as JSON. Never throws.
void event(Level level, std::string_view message, std::initializer_list<Field> fields) noexcept;

namespace detail {
void write_format(Level level, fmt::string_view format, fmt::format_args arguments) noexcept;
template <class... Args>
void write_checked(Level level, fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(level)) write_format(level, format, fmt::make_format_args(args...));
}
}  // namespace detail

// log::info("{} loaded in {:.1f} s", name, seconds); the format is checked by the compiler.
template <class... Args>
void trace(fmt::format_string<Args...> format, Args&&... args) {
  detail::write_checked<Args...>(Level::kTrace, format, std::forward<Args>(args)...);
}
template <class... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
  detail::write_checked<Args...>(Level::kDebug, format, std::forward<Args>(args)...);
}
template <class... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  detail::write_checked<Args...>(Level::kInfo, format, std::forward<Args>(args)...);
}
template <class... Args>
void warning(fmt::format_string<Args...> format, Args&&... args) {
  detail::write_checked<Args...>(Level::kWarning, format, std::forward<Args>(args)...);
}
template <class... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
  detail::write_checked<Args...>(Level::kError, format, std::forward<Args>(args)...);
}

}  // namespace nacelle::log
