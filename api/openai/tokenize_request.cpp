// The bodies of POST /tokenize and /detokenize.
#include "api/http/message.hpp"
#include "api/openai/names.hpp"
#include "api/openai/request.hpp"

namespace nacelle::openai {
namespace {

struct TokenizeDraft : TokenizeBody {
  std::string source;  // the field that gave the text
  ChatPrompt chat;
};

void claim(TokenizeDraft& draft, const std::string& name) {
  if (!draft.source.empty()) {
    throw http::RequestError(
        {400, "'" + name + "' and '" + draft.source + "' exclude each other", name, "invalid_value"});
  }
  draft.source = name;
}

void set_text(TokenizeDraft& draft, const std::string& name, const Json& value) {
  claim(draft, name);
  draft.text = to_string(name, value);
}

void set_messages(TokenizeDraft& draft, const std::string& name, const Json& value) {
  claim(draft, name);
  draft.chat.messages = normalise_messages(value);
  take_prefix(draft.chat, value);
}

}  // namespace

TokenizeBody parse_tokenize(std::string_view body) {
  using D = TokenizeDraft;
  static const Fields<D> fields = {
      string<D>("model", [](D& d, const std::string& v) { d.model = v; }),
      custom<D>("content", set_text),
      custom<D>("prompt", set_text),
      custom<D>("messages", set_messages),
      custom<D>("tools", [](D& d, const std::string&, const Json& v) { d.chat.tools = check_tools(v); }),
      custom<D>("chat_template_kwargs",
                [](D& d, const std::string& name, const Json& v) {
                  d.chat.template_variables = to_template_variables(name, v);
                }),
      boolean<D>("add_special", [](D& d, bool v) { d.add_special = v; }),
      boolean<D>("parse_special", [](D& d, bool v) { d.parse_special = v; }),
      boolean<D>("with_pieces", [](D& d, bool v) { d.with_pieces = v; }),
  };
  const Json json = parse_json(body);
  D draft;
  read_fields<D>(draft, to_object("body", json), fields);
  if (draft.source.empty()) refuse_missing("content");
  if (draft.source == "messages") {
    draft.text = std::move(draft.chat);
  } else if (!draft.chat.tools.is_null() || !draft.chat.template_variables.empty()) {
    refuse_missing("messages");
  }
  return draft;
}

DetokenizeBody parse_detokenize(std::string_view body) {
  using D = DetokenizeBody;
  static const Fields<D> fields = {
      string<D>("model", [](D& d, const std::string& v) { d.model = v; }),
      custom<D>("tokens", [](D& d, const std::string& name, const Json& v) { d.tokens = to_tokens(name, v); }),
  };
  const Json json = parse_json(body);
  D draft;
  read_fields<D>(draft, to_object("body", json), fields);
  check_present(json, {"tokens"}, "");
  return draft;
}

}  // namespace nacelle::openai
