#include "api/openai/prompt.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "api/http/message.hpp"
#include "api/http/slow_lane.hpp"
#include "api/openai/random_id.hpp"
#include "core/base/error.hpp"

namespace nacelle::openai {
namespace {

// What a worker, of which there are few, spends on a grammar. Schemas for real use take a fifth of it.
constexpr std::chrono::milliseconds kQuickCompile{10};

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

struct InfillTokens {
  TokenId prefix, suffix, middle;
  bool prefix_last;
};

// nullopt: the vocabulary has none.
std::optional<InfillTokens> find_infill(const Tokenizer& tokenizer) {
  for (const InfillMarks& marks : kInfillMarks) {
    const auto before = tokenizer.find(marks.prefix), after = tokenizer.find(marks.suffix);
    const auto middle = marks.middle.empty() ? before : tokenizer.find(marks.middle);
    if (before && after && middle) return InfillTokens{*before, *after, *middle, marks.middle.empty()};
  }
  return std::nullopt;
}

void append(std::vector<TokenId>& tokens, const Tokenizer& tokenizer, std::string_view text) {
  const std::vector<TokenId> more = tokenizer.encode(text, {false, false});
  tokens.insert(tokens.end(), more.begin(), more.end());
}

std::vector<TokenId> encode_rendered(const Tokenizer& tokenizer, const RenderedChat& chat, bool whole = true) {
  std::vector<TokenId> tokens = tokenizer.encode(chat.text, {false, true, chat.quoted});
  const std::vector<TokenId> specials = tokenizer.encode("", {true, true});
  const bool wants_bos = tokenizer.bos() && !specials.empty() && specials.front() == *tokenizer.bos();
  if (whole && wants_bos && (tokens.empty() || tokens.front() != *tokenizer.bos())) {
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

// The source of the chat template that the prompt is rendered with.
const std::string& source_of(const Model& model, const ChatPrompt& prompt) {
  return model.tokenizer().chat_template(!prompt.tools.is_null());
}

// Only a template can make the model think more or less. To a model that does not reason no effort is too much.
void set_reasoning_effort(const Model& model, const ChatPrompt& prompt, Json& context) {
  const std::string& source = source_of(model, prompt);
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

// What the template makes of messages that follow on others, which end with the assistant's words.
RenderedChat render_further(const Model& model, const ChatPrompt& prompt) {
  const std::string mark = random_id("said");
  ChatPrompt longer = prompt;
  longer.messages =
      Json::array({Json{{"role", "user"}, {"content", "-"}}, Json{{"role", "assistant"}, {"content", mark}}});
  longer.messages.insert(longer.messages.end(), prompt.messages.begin(), prompt.messages.end());
  RenderedChat chat = render_chat(model, longer);
  const std::size_t at = chat.text.rfind(mark);
  if (at == std::string::npos)
    throw http::RequestError({400,
                              "'context': the chat template of '" + model.name() +
                                  "' does not show what the assistant said, so that nothing can follow on it",
                              "context", "unsupported_parameter"});
  const std::size_t begin = at + mark.size();
  chat.text.erase(0, begin);
  std::erase_if(chat.quoted, [&](std::size_t place) { return place < begin; });
  for (std::size_t& place : chat.quoted) place -= begin;
  return chat;
}

// Where the user speaks, after the system's messages at the beginning and the first turn.
std::vector<std::size_t> later_turns(const Json& messages, std::size_t lead) {
  std::vector<std::size_t> turns;
  for (std::size_t i = lead + 1; i < messages.size(); ++i)
    if (messages[i]["role"] == "user") turns.push_back(i);
  return turns;
}

// As DeepSeek's templates want calls: where the content is none, and arguments as text unless they say tojson
// themselves.
void write_calls(const std::string& source, Json& messages) {
  const chat::Dialect* dialect = chat::find_dialect(source);
  if (!dialect || !dialect->calls_without_content) return;
  const auto has = [&](const char* text) { return source.find(text) != std::string::npos; };
  const bool as_json = has("['arguments']|tojson") || has("['arguments'] | tojson");
  for (Json& message : messages) {
    if (!message.contains("tool_calls")) continue;
    if (message["content"] == "") message["content"] = nullptr;
    for (Json& call : message["tool_calls"]) {
      Json& arguments = call["function"]["arguments"];
      if (!as_json && !arguments.is_string()) arguments = to_text(arguments);
    }
  }
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
  const ChatTemplate* chat = model.chat_template(!prompt.tools.is_null());
  if (!chat) {
    throw Error(ErrorKind::kUnsupported,
                "the model '" + model.name() + "' has no chat template; use /v1/completions, or run --raw", "messages");
  }
  Json context = {{"add_generation_prompt", true}};
  context.update(prompt.template_variables);
  if (!prompt.reasoning_effort.empty()) set_reasoning_effort(model, prompt, context);
  context["messages"] = prompt.messages;
  write_calls(source_of(model, prompt), context["messages"]);
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
  const bool further = !prompt.before.empty();
  RenderedChat chat = further ? render_further(model, prompt) : render_chat(model, prompt);
  PreparedChat result;
  chat::AnswerFormat& format = result.format;
  const std::string& source = source_of(model, prompt);
  format.dialect = chat::find_dialect(source);
  format.tools = prompt.tools;
  if (!prompt.tools.is_null() && !format.dialect) refuse_tools(model);
  if (!format.dialect || !format.dialect->channels) format.think = chat::find_think_tags(source);
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
  result.tokens = encode_rendered(tokenizer, chat, !further);
  result.tokens.insert(result.tokens.begin(), prompt.before.begin(), prompt.before.end());
  return result;
}

PreparedChat prepare_newest(const Model& model, const ChatPrompt& prompt, const Constraint& content,
                            std::uint32_t max_tokens) {
  PreparedChat whole = prepare_chat(model, prompt, content);
  const std::size_t context = model.context();
  if (whole.tokens.size() < context) return whole;

  const Json& messages = prompt.messages;
  std::size_t lead = 0;
  while (lead < messages.size() && messages[lead]["role"] == "system") ++lead;
  const std::vector<std::size_t> turns = later_turns(messages, lead);
  const auto prepared_from = [&](std::size_t from) {
    ChatPrompt part = prompt;
    part.messages = Json::array();
    for (std::size_t i = 0; i < messages.size(); ++i)
      if (i < lead || i >= from) part.messages.push_back(messages[i]);
    return prepare_chat(model, part, content);
  };
  const std::size_t wanted = max_tokens != 0 ? max_tokens : context / 4;
  const std::size_t most = context - std::min(wanted, context / 2);
  std::optional<PreparedChat> best;
  for (std::size_t low = 0, high = turns.size(); low < high;) {
    const std::size_t middle = (low + high) / 2;
    PreparedChat part = prepared_from(turns[middle]);
    if (part.tokens.size() > most) {
      low = middle + 1;
    } else {
      high = middle;
      best = std::move(part);
    }
  }
  if (best) return std::move(*best);
  return turns.empty() ? std::move(whole) : prepared_from(turns.back());
}

void compile_constraint(const Model& model, const Constraint& spec, GenerationRequest& request) {
  using http::Pace;
  if (!spec) return;
  const Pace pace = http::Pacing::now();
  try {
    request.grammar = model.grammars().get(*spec, pace == Pace::kSlow    ? constrain::kCompileTime
                                                  : pace == Pace::kQuick ? kQuickCompile
                                                                         : std::chrono::milliseconds(0));
  } catch (const constrain::CompileTimeout&) {
    if (pace == Pace::kSlow) throw;
    if (pace == Pace::kQuick) throw http::TakesLong();
    throw BusyError("'" + spec->param +
                        "' takes long to compile, and too many such requests wait; try again, or make it "
                        "simpler",
                    std::chrono::seconds(5));
  }
}

std::vector<TokenId> encode_text(const Model& model, std::string_view text) {
  std::vector<TokenId> tokens = model.tokenizer().encode(text, {true, true});
  if (tokens.empty() && model.tokenizer().bos()) tokens.push_back(*model.tokenizer().bos());
  return tokens;
}

bool knows_infill(const Model& model) { return find_infill(model.tokenizer()).has_value(); }

std::vector<TokenId> encode_infill(const Model& model, std::string_view prefix, std::string_view suffix) {
  const Tokenizer& tokenizer = model.tokenizer();
  const std::optional<InfillTokens> marks = find_infill(tokenizer);
  if (!marks)
    throw http::RequestError(
        {400, "'suffix': the vocabulary of '" + model.name() + "' has no tokens to fill in the middle of a text",
         "suffix", "unsupported_parameter"});
  std::vector<TokenId> tokens = tokenizer.encode("", {true, true});
  if (tokenizer.eos() && !tokens.empty() && tokens.back() == *tokenizer.eos()) tokens.pop_back();
  if (!marks->prefix_last) {
    tokens.push_back(marks->prefix);
    append(tokens, tokenizer, prefix);
  }
  tokens.push_back(marks->suffix);
  append(tokens, tokenizer, suffix);
  tokens.push_back(marks->middle);
  if (marks->prefix_last) append(tokens, tokenizer, prefix);
  return tokens;
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

void check_token_ids(const Model& model, const std::vector<TokenId>& tokens, const std::string& name) {
  const std::size_t size = model.tokenizer().vocab_size();
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] >= 0 && static_cast<std::size_t>(tokens[i]) < size) continue;
    const std::string place = element(name, i);
    throw http::RequestError({400,
                              "'" + place + "' is " + std::to_string(tokens[i]) + "; the vocabulary has ids 0 to " +
                                  std::to_string(size - 1),
                              place, "invalid_value"});
  }
}

}  // namespace nacelle::openai
