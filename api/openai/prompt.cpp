#include "api/openai/prompt.hpp"

#include <utility>

#include "core/base/error.hpp"

namespace nacelle::openai {

std::string render_chat(const Model& model, const ChatPrompt& prompt) {
  const ChatTemplate* chat = model.chat_template();
  if (!chat) {
    throw Error(ErrorKind::kUnsupported,
                "the model '" + model.name() + "' has no chat template; use /v1/completions, or run --raw", "messages");
  }
  Json context = {{"add_generation_prompt", true}};
  context.update(prompt.template_variables);
  context["messages"] = prompt.messages;
  if (!prompt.tools.is_null()) context["tools"] = prompt.tools;
  context["bos_token"] = model.tokenizer().bos_text();
  context["eos_token"] = model.tokenizer().eos_text();
  return chat->render(context);
}

std::vector<TokenId> encode_chat(const Model& model, const ChatPrompt& prompt) {
  const Tokenizer& tokenizer = model.tokenizer();
  std::vector<TokenId> tokens = tokenizer.encode(render_chat(model, prompt), {false, true});
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
