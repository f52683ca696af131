// The border between the interpreter and the rest of Nacelle: parsing once, rendering, and errors with the line quoted.
#include "core/chat/chat_template.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

#include "core/base/error.hpp"
#include "core/chat/lexer.hpp"
#include "core/chat/parser.hpp"
#include "core/chat/renderer.hpp"

namespace nacelle {

struct ChatTemplate::Parsed {
  std::string source;  // normalized
  jinja::Tree tree;
};

namespace {

// "line 3: `{{ foo }}`". Templates are often one long line, so only the surroundings of byte `at` are quoted.
std::string quote_line(std::string_view source, std::size_t at) {
  constexpr std::size_t kBefore = 40, kAfter = 80;
  at = std::min(at, source.size());
  const auto number = std::count(source.begin(), source.begin() + static_cast<std::ptrdiff_t>(at), '\n') + 1;
  const std::size_t line_start = at == 0 ? 0 : source.rfind('\n', at - 1) + 1;  // npos + 1 is 0
  const std::size_t line_end = std::min(source.find('\n', at), source.size());
  const auto inside_character = [&](std::size_t i) {
    return i < line_end && (static_cast<unsigned char>(source[i]) & 0xC0) == 0x80;
  };
  std::size_t start = at - line_start > kBefore ? at - kBefore : line_start;
  std::size_t end = std::min(at + kAfter, line_end);
  while (inside_character(start)) ++start;
  while (inside_character(end)) ++end;
  std::string quoted(source.substr(start, end - start));
  std::replace_if(
      quoted.begin(), quoted.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }, ' ');
  return "line " + std::to_string(number) + ": `" + (start > line_start ? "..." : "") + quoted +
         (end < line_end ? "..." : "") + "`";
}

}  // namespace

std::tm RenderLimits::local_clock() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  return local;
}

ChatTemplate::ChatTemplate(const std::string& source) {
  auto parsed = std::make_unique<Parsed>();
  parsed->source = jinja::normalize_source(source);
  try {
    parsed->tree = jinja::parse(parsed->source);
  } catch (const jinja::SyntaxError& error) {
    throw Error(ErrorKind::kInvalidArgument,
                std::string("chat template: ") + error.what() + "; " + quote_line(parsed->source, error.at));
  }
  parsed_ = std::move(parsed);
}

ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

std::string ChatTemplate::render(const nlohmann::ordered_json& context, const RenderLimits& limits) const {
  if (!context.is_object()) {
    throw Error(ErrorKind::kInvalidArgument, "chat template: the context must be an object with messages", "messages");
  }
  jinja::Heap heap({limits.max_steps, limits.max_memory_bytes, limits.max_depth});
  jinja::Renderer renderer(parsed_->tree, heap, limits.max_output_bytes, limits.clock);
  const auto where = [&] { return quote_line(parsed_->source, renderer.position()); };
  try {
    return renderer.run(context);
  } catch (const jinja::RaisedError& error) {
    throw Error(ErrorKind::kInvalidArgument,
                std::string(error.what()) + " (raised by the chat template, " + where() + ")", "messages");
  } catch (const jinja::TemplateError& error) {
    throw Error(ErrorKind::kInvalidArgument, std::string("chat template: ") + error.what() + "; " + where(),
                "messages");
  }
}

}  // namespace nacelle
