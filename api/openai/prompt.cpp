#include "api/openai/prompt.hpp"

#include <optional>
#include <utility>

#include "api/http/message.hpp"
#include "core/base/error.hpp"

namespace nacelle::openai {
namespace {

// Tokens that mark the parts of a text with a hole.
struct InfillMarks {
  std::string_view prefix, suffix, middle;  // middle "": the prefix's mark comes last and stands for it
};
constexpr InfillMarks kInfillMarks[] = {
    {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"},  // Qwen, CodeGemma
    {"<fim_prefix>", "<fim_suffix>", "<fim_middle>"},        // StarCoder, Granite
    {"<fim-prefix>", "<fim-suffix>", "<fim-middle>"},        // SantaCoder
    {"<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"},  // DeepSeek
    {"▁<PRE>", "▁<SUF>", "▁<MID>"},                          // Code Llama
    {"[PREFIX]", "[SUFFIX]", ""},                            // Codestral
};

void append(std::vector<TokenId>& tokens, const Tokenizer& tokenizer, std::string_view text) {
  const std::vector<TokenId> more = tokenizer.encode(text, {false, false});
  tokens.insert(tokens.end(), more.begin(), more.end());
}

std::vector<TokenId> encode_rendered(const Tokenizer& tokenizer, const RenderedChat& chat) {
  std::vector<TokenId> tokens = tokenizer.encode(chat.text, {false, true, chat.quoted});
  const std::vector<TokenId> specials = tokenizer.encode("", {true, true});
  const bool wants_bos = tokenizer.bos() && !specials.empty() && specials.front() == *tokenizer.bos();
  if (wants_bos && (tokens.empty() || tokens.front() != *tokenizer.bos())) {
    tokens.insert(tokens.begin(), *tokenizer.bos());
  }
  return tokens;
}

[[noreturn]] void refuse_tools(const Model& model) {
  std::string known;
  for (const chat::Dialect& dialect : chat::dialects())
    known += (known.empty() ? "" : ", ") + std::string(dialect.name);
  throw http::RequestError(
      {400,
       "the chat template of '" + model.name() + "' writes calls of tools in no form that is known (" + known + ")",
       "tools", "unsupported_parameter"});
}

// The one place where calls that must come are begun: the prompt goes on with the call's prefix, which the parser reads
// first, and what follows must be a call. A model that thinks first writes the prefix itself, later.
std::string begin_forced_call(const ChatPrompt& prompt, PreparedChat& chat) {
  const chat::ForcedCall forced = chat::forced_call(*chat.format.dialect, prompt.tools, prompt.tool_choice);
  const bool begun = !chat.format.inside_think;
  chat.format.dialect = forced.dialect;
  chat.constraint = chat::forced_grammar(chat.format, forced, begun);
  if (begun) chat.format.begun = forced.prefix;
  return chat.format.begun;
}

bool knows_channels(const std::string& chat_template) {
  const chat::Dialect* dialect = chat::find_dialect(chat_template);
  return dialect && dialect->channels;
}

// Only a template can make the model think more or less. To a model that does not reason no effort is too much.
void set_reasoning_effort(const Model& model, const ChatPrompt& prompt, Json& context) {
  const std::string& source = model.tokenizer().chat_template();
  const std::string& effort = prompt.reasoning_effort;
  if (source.find("reasoning_effort") != std::string::npos) {
    context["reasoning_effort"] = effort;
  } else if (source.find("enable_thinking") != std::string::npos) {
    if (!context.contains("enable_thinking")) context["enable_thinking"] = effort != "none";
  } else if (reasons(model) && !prompt.effort_is_hint) {
    throw http::RequestError({400, "'reasoning_effort': the chat template of '" + model.name() + "' does not know it",
                              "reasoning_effort", "unsupported_parameter"});
  }
}

// Many templates take one message of the system, and only at the beginning; agents send more. Those at the beginning as
// one, and later ones as the user's, who says then in one message what came in a row. Null where nothing changes.
Json plain_systems(const Json& messages) {
  Json plain = Json::array();
  bool changed = false, behind_late = false;
  for (const Json& message : messages) {
    const bool system = message["role"] == "system";
    const bool late = system && !plain.empty() && !(plain.size() == 1 && plain[0]["role"] == "system");
    const Json role = late ? Json("user") : message["role"];
    const bool joins = !plain.empty() && plain.back()["role"] == role && (system || (behind_late && role == "user"));
    if (joins) {
      plain.back()["content"].get_ref<std::string&>() += "\n\n" + message["content"].get<std::string>();
    } else {
      plain.push_back(message);
      plain.back()["role"] = role;
    }
    changed |= late || joins;
    behind_late = late;
  }
  return changed ? plain : Json();
}

std::string render_text(const ChatTemplate& chat, Json& context) {
  try {
    return chat.render(context);
  } catch (const Error&) {
    Json plain = plain_systems(context["messages"]);
    if (plain.is_null()) throw;
    context["messages"] = std::move(plain);
  }
  return chat.render(context);
}

bool ends_with_tag(std::string_view text, std::string_view tag) {
  const auto end = text.find_last_not_of(" \n\t");
  return end != std::string_view::npos && text.substr(0, end + 1).ends_with(tag);
}

}  // namespace

bool reasons(const Model& model) {
  const std::string& source = model.tokenizer().chat_template();
  return chat::find_think_tags(source) || knows_channels(source);
}

RenderedChat render_chat(const Model& model, const ChatPrompt& prompt) {
  const ChatTemplate* chat = model.chat_template();
  if (!chat) {
    throw Error(ErrorKind::kUnsupported,
                "the model '" + model.name() + "' has no chat template; use /v1/completions, or run --raw", "messages");
  }
  Json context = {{"add_generation_prompt", true}};
  context.update(prompt.template_variables);
  if (!prompt.reasoning_effort.empty()) set_reasoning_effort(model, prompt, context);
  context["messages"] = prompt.messages;
  if (!prompt.tools.is_null()) context["tools"] = prompt.tools;
  const Quoting quoting(model.tokenizer(), context);
  context["bos_token"] = model.tokenizer().bos_text();
  context["eos_token"] = model.tokenizer().eos_text();
  RenderedChat rendered = quoting.read(render_text(*chat, context));
  for (const std::size_t at : model.tokenizer().special_spellings(prompt.prefill)) {
    rendered.quoted.push_back(rendered.text.size() + at);
  }
  rendered.text += prompt.prefill;
  return rendered;
}

std::vector<TokenId> encode_chat(const Model& model, const ChatPrompt& prompt) {
  return encode_rendered(model.tokenizer(), render_chat(model, prompt));
}

PreparedChat prepare_chat(const Model& model, const ChatPrompt& prompt, const Constraint& content) {
  const Tokenizer& tokenizer = model.tokenizer();
  RenderedChat chat = render_chat(model, prompt);
  PreparedChat result;
  chat::AnswerFormat& format = result.format;
  format.dialect = chat::find_dialect(tokenizer.chat_template());
  format.tools = prompt.tools;
  if (!prompt.tools.is_null() && !format.dialect) refuse_tools(model);
  if (!format.dialect || !format.dialect->channels) format.think = chat::find_think_tags(tokenizer.chat_template());
  if (format.think) format.inside_think = ends_with_tag(chat.text, format.think->open);
  if (prompt.tool_choice.forced()) {
    chat.text += begin_forced_call(prompt, result);
  } else {
    result.constraint = chat::answer_grammar(format, content);
  }
  const auto show = [&](std::string_view mark) {
    if (const auto id = tokenizer.find(mark); id && !mark.empty()) result.shown_special.push_back(*id);
  };
  if (format.dialect && (format.dialect->channels || !prompt.tools.is_null())) {
    for (const std::string_view mark : format.dialect->shown) show(mark);
  }
  if (format.think) {
    show(format.think->open);
    show(format.think->close);
  }
  result.tokens = encode_rendered(tokenizer, chat);
  return result;
}

void compile_constraint(const Model& model, const Constraint& spec, GenerationRequest& request) {
  if (spec) request.grammar = model.grammars().get(*spec);
}

std::vector<TokenId> encode_text(const Model& model, std::string_view text) {
  std::vector<TokenId> tokens = model.tokenizer().encode(text, {true, true});
  if (tokens.empty() && model.tokenizer().bos()) tokens.push_back(*model.tokenizer().bos());
  return tokens;
}

std::vector<TokenId> encode_infill(const Model& model, std::string_view prefix, std::string_view suffix) {
  const Tokenizer& tokenizer = model.tokenizer();
  for (const InfillMarks& marks : kInfillMarks) {
    const auto before = tokenizer.find(marks.prefix), after = tokenizer.find(marks.suffix);
    const auto middle = marks.middle.empty() ? before : tokenizer.find(marks.middle);
    if (!before || !after || !middle) continue;
    std::vector<TokenId> tokens = tokenizer.encode("", {true, true});
    if (tokenizer.eos() && !tokens.empty() && tokens.back() == *tokenizer.eos()) tokens.pop_back();
    if (!marks.middle.empty()) {
      tokens.push_back(*before);
      append(tokens, tokenizer, prefix);
    }
    tokens.push_back(*after);
    append(tokens, tokenizer, suffix);
    tokens.push_back(*middle);
    if (marks.middle.empty()) append(tokens, tokenizer, prefix);
    return tokens;
  }
  throw http::RequestError(
      {400, "'suffix': the vocabulary of '" + model.name() + "' has no tokens to fill in the middle of a text",
       "suffix", "unsupported_parameter"});
}

void check_length(const Model& model, std::size_t tokens, const char* param, bool answered) {
  const std::uint32_t context = model.context();
  answered &= !model.is_encoder();
  if (tokens + answered <= context) return;
  throw http::RequestError({400,
                            "the model's context holds " + std::to_string(context) + " tokens" +
                                (answered ? ", the answer's included; '" : "; '") + param +
                                (answered ? "' alone has " : "' has ") + std::to_string(tokens),
                            param, "context_length_exceeded"});
}

}  // namespace nacelle::openai
