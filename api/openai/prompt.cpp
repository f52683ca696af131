#include "api/openai/prompt.hpp"

#include <utility>

#include "core/base/error.hpp"

namespace nacelle::openai {

namespace {

// Every string of a document but those under a key that templates compare with words of their own.
template <class Visit>
void visit_strings(Json& json, const Visit& visit) {
  if (json.is_string()) visit(json.get_ref<std::string&>());
  if (json.is_object() || json.is_array())
    for (auto& [key, value] : json.items())
      if (!(json.is_object() && (key == "role" || key == "type"))) visit_strings(value, visit);
}

// Marks the special tokens that the conversation itself spells, so that they can be told from the template's once both
// are one text. Noncharacters are the marks: the shortest run that the conversation does not hold.
class Quoting {
 public:
  Quoting(const Tokenizer& tokenizer, Json& context) : tokenizer_(tokenizer) {
    bool any = false;
    for (const char* part : {"messages", "tools"})
      if (context.contains(part))
        visit_strings(context[part], [&](std::string& text) { any |= !tokenizer_.special_spellings(text).empty(); });
    if (!any) return;
    do mark_ += "\uFDD0";
    while (is_used(context));
    for (const char* part : {"messages", "tools"})
      if (context.contains(part)) visit_strings(context[part], [&](std::string& text) { mark(text); });
  }

  RenderedChat read(std::string text) const {
    RenderedChat rendered;
    std::size_t done = 0;
    for (std::size_t at; !mark_.empty() && (at = text.find(mark_, done)) != std::string::npos;
         done = at + mark_.size()) {
      rendered.text.append(text, done, at - done);
      rendered.quoted.push_back(rendered.text.size());
    }
    rendered.text.append(text, done);
    return rendered;
  }

 private:
  bool is_used(Json& context) const {
    bool used = false;
    visit_strings(context, [&](const std::string& text) { used |= text.find(mark_) != std::string::npos; });
    return used;
  }
  void mark(std::string& text) const {
    const std::vector<std::size_t> starts = tokenizer_.special_spellings(text);
    for (auto at = starts.rbegin(); at != starts.rend(); ++at) text.insert(*at, mark_);
  }

  const Tokenizer& tokenizer_;
  std::string mark_;  // "": nothing to mark
};

}  // namespace

RenderedChat render_chat(const Model& model, const ChatPrompt& prompt) {
  const ChatTemplate* chat = model.chat_template();
  if (!chat) {
    throw Error(ErrorKind::kUnsupported,
                "the model '" + model.name() + "' has no chat template; use /v1/completions, or run --raw", "messages");
  }
  Json context = {{"add_generation_prompt", true}};
  context.update(prompt.template_variables);
  context["messages"] = prompt.messages;
  if (!prompt.tools.is_null()) context["tools"] = prompt.tools;
  const Quoting quoting(model.tokenizer(), context);
  context["bos_token"] = model.tokenizer().bos_text();
  context["eos_token"] = model.tokenizer().eos_text();
  return quoting.read(chat->render(context));
}

std::vector<TokenId> encode_chat(const Model& model, const ChatPrompt& prompt) {
  const Tokenizer& tokenizer = model.tokenizer();
  const RenderedChat chat = render_chat(model, prompt);
  std::vector<TokenId> tokens = tokenizer.encode(chat.text, {false, true, chat.quoted});
  const std::vector<TokenId> specials = tokenizer.encode("", {true, true});
  const bool wants_bos = tokenizer.bos() && !specials.empty() && specials.front() == *tokenizer.bos();
  if (wants_bos && (tokens.empty() || tokens.front() != *tokenizer.bos())) {
    tokens.insert(tokens.begin(), *tokenizer.bos());
  }
  return tokens;
}

std::vector<TokenId> encode_text(const Model& model, std::string_view text) {
  std::vector<TokenId> tokens = model.tokenizer().encode(text, {true, true});
  if (tokens.empty() && model.tokenizer().bos()) tokens.push_back(*model.tokenizer().bos());
  return tokens;
}

}  // namespace nacelle::openai
