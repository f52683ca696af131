// spdlog behind the log. It is compiled in here and nowhere else, which spares the program a shared library and its
// other files the headers; fmt is fmt_library.cpp's.
#define SPDLOG_HEADER_ONLY
#define SPDLOG_FMT_EXTERNAL
#include "core/base/log.hpp"

#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_color_sinks.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "core/base/error.hpp"

namespace nacelle::log {
namespace {

constexpr std::array<std::string_view, 6> kLevelNames = {"trace", "debug", "info", "warning", "error", "off"};

struct Logger {
  Logger() : spd("nacelle", std::make_shared<spdlog::sinks::stderr_color_sink_mt>()) {
    spd.set_level(spdlog::level::trace);  // `level` below decides
    spd.flush_on(spdlog::level::trace);   // standard error: nothing is held back when the process dies
    set_format(Format::kText);
  }

  void set_format(Format wanted) {
    format.store(wanted, std::memory_order_relaxed);
    if (wanted == Format::kJson)
      spd.set_formatter(std::make_unique<spdlog::pattern_formatter>(
          R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l",%v})", spdlog::pattern_time_type::utc));
    else
      spd.set_formatter(std::make_unique<spdlog::pattern_formatter>("%H:%M:%S.%e %^%l%$ %v"));
  }

  spdlog::logger spd;
  std::atomic<Level> level{Level::kInfo};
  std::atomic<Format> format{Format::kText};
};

// Never destroyed: plugins may log from their last breath.
Logger& logger() {
  static Logger& instance = *new Logger;
  return instance;
}

// Escapes control characters; with `quotes` also what JSON strings need.
void append_escaped(std::string& out, std::string_view text, bool quotes) {
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (quotes && (c == '"' || c == '\\')) {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\u{:04x}", byte);
    } else {
      out += c;
    }
  }
}

std::string render(Format format, std::string_view message, std::string_view component) {
  const bool json = format == Format::kJson;
  std::string line;
  line.reserve(message.size() + component.size() + 40);
  if (json && !component.empty()) line += "\"component\":\"";
  append_escaped(line, component, json);
  if (!component.empty()) line += json ? "\"," : ": ";
  if (json) line += "\"message\":\"";
  append_escaped(line, message, json);
  if (json) line += '"';
  return line;
}

void append_field(std::string& line, Format format, const Field& field) {
  if (!field.is_number() && field.text().empty()) return;
  const bool json = format == Format::kJson;
  line += json ? ",\"" : " ";
  line += field.name();
  line += json ? "\":" : "=";
  if (field.is_number()) {
    const bool whole = field.number() == static_cast<double>(static_cast<std::int64_t>(field.number()));
    line +=
        whole ? fmt::format("{}", static_cast<std::int64_t>(field.number())) : fmt::format("{:.3f}", field.number());
    return;
  }
  // As text, quotes keep apart what has spaces or could pass for another field.
  const bool quotes = json || field.text().find_first_of(" =\"") != std::string_view::npos;
  if (quotes) line += '"';
  append_escaped(line, field.text(), quotes);
  if (quotes) line += '"';
}

}  // namespace

Level parse_level(std::string_view name) {
  for (std::size_t i = 0; i < kLevelNames.size(); ++i)
    if (kLevelNames[i] == name) return static_cast<Level>(i);
  throw Error(ErrorKind::kInvalidArgument,
              fmt::format("log level '{}' is not one of trace, debug, info, warning, error, off", name), "log-level");
}

Format parse_format(std::string_view name) {
  if (name == "text") return Format::kText;
  if (name == "json") return Format::kJson;
  throw Error(ErrorKind::kInvalidArgument, fmt::format("log format '{}' is neither text nor json", name), "log-format");
}

void configure(Level level, Format format) {
  logger().level.store(level, std::memory_order_relaxed);
  logger().set_format(format);
}

Level level() noexcept { return logger().level.load(std::memory_order_relaxed); }
Format format() noexcept { return logger().format.load(std::memory_order_relaxed); }

bool enabled(Level level) noexcept { return level >= logger().level.load(std::memory_order_relaxed); }

namespace {

void write_line(Level level, std::string_view message, std::string_view component,
                std::initializer_list<Field> fields) noexcept {
  if (level >= Level::kOff || !enabled(level)) return;
  try {
    Logger& to = logger();
    const Format format = to.format.load(std::memory_order_relaxed);
    std::string line = render(format, message, component);
    for (const Field& field : fields) append_field(line, format, field);
    // Our levels are spdlog's up to `error`, which it calls err.
    to.spd.log(static_cast<spdlog::level::level_enum>(level), spdlog::string_view_t(line));
  } catch (...) {
    // A log that cannot be written must not take its caller down.
  }
}

}  // namespace

void write(Level level, std::string_view message, std::string_view component) noexcept {
  write_line(level, message, component, {});
}

void event(Level level, std::string_view message, std::initializer_list<Field> fields) noexcept {
  write_line(level, message, {}, fields);
}

namespace detail {
void write_format(Level level, fmt::string_view format, fmt::format_args arguments) noexcept {
  try {
    write(level, fmt::vformat(format, arguments));
  } catch (...) {
  }
}
}  // namespace detail

}  // namespace nacelle::log
