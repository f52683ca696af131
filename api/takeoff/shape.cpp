#include "api/takeoff/shape.hpp"

namespace nacelle::takeoff {
namespace {

using chat::AnswerEvent;
using fields::Json;
using serving::Choice;

std::string text_of(const Choice& choice) { return chat::joined(choice.events, AnswerEvent::Kind::kContent); }

// A line feed would end the event's line: each line of the text gets one of its own. So would a carriage return, which
// clients read as a line feed, and one for both where both come together.
std::string data_lines(std::string_view text) {
  std::string lines = "data: ";
  for (std::size_t i = 0; i < text.size(); ++i) {
    lines += text[i];
    const bool alone = text[i] == '\r' && i + 1 < text.size() && text[i + 1] != '\n';
    if (text[i] == '\n' || alone) lines += "data: ";
  }
  return lines + "\n\n";
}

class GenerateShape final : public serving::Shape {
 public:
  explicit GenerateShape(bool list) : list_(list) {}

  http::Response whole(const std::vector<Choice>& choices, const Usage&) override {
    Json texts = Json::array();
    for (const Choice& choice : choices) texts.push_back(text_of(choice));
    const Json body = {{"text", list_ ? texts : texts.front()}};
    return {200, fields::to_text(body), "application/json", {}};
  }

  std::string open(const Usage&) override { return {}; }

  std::string piece(const Choice& news) override {
    const std::string text = text_of(news);
    if (text.empty()) return {};
    return (list_ ? "id: " + std::to_string(news.index) + "\n" : "") + data_lines(text);
  }

  std::string close(const Usage&) override { return {}; }
  std::string failure(const http::ApiError& error) override { return "event: error\n" + data_lines(error.message); }

 private:
  const bool list_;
};

}  // namespace

std::unique_ptr<serving::Shape> make_shape(bool list) { return std::make_unique<GenerateShape>(list); }

}  // namespace nacelle::takeoff
