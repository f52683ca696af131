// A model's text -> calls, reasoning and content, in every dialect. The first byte picks the dialect, the second how
// the text is cut: the events must not depend on the cuts, and without a tag in it the text must come out as it went
// in.
#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>
#include <string_view>

#include "api/chat/dialects.hpp"

using namespace nacelle;
using namespace nacelle::chat;

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

AnswerFormat format_of(unsigned choice) {
  static const Json tools =
      Json::parse(R"([{"type": "function", "function": {"name": "f", "parameters": {"type": "object",
      "properties": {"n": {"type": "integer"}, "s": {"type": "string"}}}}}])");
  AnswerFormat format;
  format.dialect = &dialects()[choice % dialects().size()];
  format.tools = tools;
  if (choice & 0x40) format.think = find_think_tags("</think>");
  format.inside_think = choice & 0x20;
  return format;
}

void append(AnswerEvents& all, AnswerEvents&& some) {
  for (AnswerEvent& event : some) {
    if (event.kind == AnswerEvent::Kind::kCall) {
      all.push_back(std::move(event));
    } else {
      add(all, event.kind, event.text);
    }
  }
}

AnswerEvents read(const AnswerFormat& format, std::string_view text, unsigned seed, std::size_t longest) {
  std::minstd_rand random(seed);
  const AnswerParserPtr parser = make_parser(format);
  AnswerEvents all;
  while (!text.empty()) {
    const std::size_t count = std::min<std::size_t>(text.size(), 1 + random() % longest);
    AnswerEvents some;
    parser->push(text.substr(0, count), some);
    append(all, std::move(some));
    text.remove_prefix(count);
  }
  AnswerEvents some;
  parser->finish(some);
  append(all, std::move(some));
  return all;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const AnswerFormat format = format_of(data[0]);
  const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
  const AnswerEvents whole = read(format, text, 0, SIZE_MAX / 2);
  require(whole == read(format, text, data[1], 7));
  require(whole == read(format, text, 0, 1));
  bool called = false;
  for (const AnswerEvent& event : whole) {
    called = called || event.kind == AnswerEvent::Kind::kCall;
    require(event.kind != AnswerEvent::Kind::kArguments || called);
    require(event.kind == AnswerEvent::Kind::kCall || !event.text.empty());
  }
  if (!format.think && text.find_first_of("<[{") == std::string_view::npos && !text.empty()) {
    require(!format.dialect->channels ? whole == AnswerEvents{{AnswerEvent::Kind::kContent, std::string(text)}} : true);
  }
  return 0;
}
