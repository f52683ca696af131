#include "api/chat/dialects.hpp"

#include <algorithm>
#include <utility>

#include "api/chat/block_calls.hpp"
#include "api/chat/call_forms.hpp"
#include "api/chat/glm_calls.hpp"
#include "api/chat/harmony.hpp"
#include "api/chat/json_calls.hpp"
#include "api/chat/python_calls.hpp"
#include "api/chat/xml_calls.hpp"
#include "core/base/error.hpp"
#include "core/constrain/composition.hpp"
#include "core/formats/bounded_json.hpp"

namespace nacelle::chat {
namespace {

AnswerParserPtr hermes(const Json& tools) {
  return make_json_call_parser({.open = "<tool_call>", .close = "</tool_call>"}, tools);
}
AnswerParserPtr mistral(const Json& tools) {
  return make_json_call_parser({.open = "[TOOL_CALLS]", .close = "", .list = true}, tools);
}
AnswerParserPtr llama3(const Json& tools) {
  return make_json_call_parser({.open = "<|python_tag|>", .close = "", .bare = true}, tools);
}
AnswerParserPtr command(const Json& tools) {
  return make_json_call_parser({.open = "<|START_ACTION|>", .close = "<|END_ACTION|>", .list = true}, tools);
}
AnswerParserPtr nemotron(const Json& tools) {
  return make_json_call_parser({.open = "<TOOLCALL>", .close = "</TOOLCALL>", .list = true}, tools);
}
AnswerParserPtr hunyuan(const Json& tools) {
  return make_json_call_parser({.open = "<tool_calls>", .close = "</tool_calls>", .list = true}, tools);
}
AnswerParserPtr lfm2(const Json& tools) { return make_python_call_parser(kLfm2Style, tools); }
AnswerParserPtr olmo3(const Json& tools) { return make_python_call_parser(kOlmo3Style, tools); }
AnswerParserPtr pythonic(const Json& tools) { return make_python_call_parser(kLlama4Style, tools); }
AnswerParserPtr harmony(const Json&) { return make_harmony_parser(); }

AnswerParserPtr qwen_xml(const Json& tools) { return make_xml_call_parser(tools, kQwenMarks); }
AnswerParserPtr seed_xml(const Json& tools) { return make_xml_call_parser(tools, kSeedMarks); }
AnswerParserPtr minimax_xml(const Json& tools) { return make_xml_call_parser(tools, kMiniMaxMarks); }
AnswerParserPtr deepseek(const Json&) { return make_block_call_parser(kDeepSeekMarks); }
AnswerParserPtr kimi(const Json&) { return make_block_call_parser(kKimiMarks); }

constexpr std::string_view kHermes = "hermes";

// Templates of most speak of <tool_call> too, and of two of <function=, so the order matters.
constexpr Dialect kDialects[] = {
    {.name = "harmony",
     .signs = {"<|channel|>", "<|message|>"},
     .shown = {"<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>", "<|call|>"},
     .channels = true,
     .parser = harmony,
     .answer = harmony_answer,
     .forced_prefix = "<|channel|>commentary to=functions.",
     .parameters_key = false,
     .forced = harmony_call},
    {.name = "deepseek",
     .signs = {kDeepSeekMarks.calls, "```json"},
     .shown = {kDeepSeekMarks.calls, kDeepSeekMarks.call, kDeepSeekMarks.separator, kDeepSeekMarks.call_end,
               kDeepSeekMarks.calls_end},
     .parser = deepseek,
     .answer = deepseek_answer,
     .forced_prefix = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>",
     .calls_without_content = true,
     .forced = deepseek_call},
    {.name = "deepseek_v31",
     .signs = {kDeepSeekMarks.calls, kDeepSeekMarks.separator},
     .shown = {kDeepSeekMarks.calls, kDeepSeekMarks.call, kDeepSeekMarks.separator, kDeepSeekMarks.call_end,
               kDeepSeekMarks.calls_end},
     .parser = deepseek,
     .answer = deepseek_v31_answer,
     .forced_prefix = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>",
     .calls_without_content = true,
     .forced = deepseek_v31_call},
    {.name = "kimi",
     .signs = {kKimiMarks.calls},
     .sign = "<|im_system|>tool_declare<|im_middle|>",
     .shown = {kKimiMarks.calls, kKimiMarks.call, kKimiMarks.separator, kKimiMarks.call_end, kKimiMarks.calls_end},
     .parser = kimi,
     .answer = kimi_answer,
     .forced_prefix = "<|tool_calls_section_begin|><|tool_call_begin|>functions.",
     .forced = kimi_call},
    {.name = "lfm2",
     .signs = {kLfm2Style.open},
     .sign = "<|tool_list_start|>",
     .shown = {kLfm2Style.open, kLfm2Style.close},
     .parser = lfm2,
     .answer = lfm2_answer,
     .forced_prefix = "<|tool_call_start|>[",
     .forced = lfm2_call},
    {.name = "olmo3",
     .signs = {kOlmo3Style.open, "<functions>"},
     .shown = {kOlmo3Style.open, kOlmo3Style.close},
     .parser = olmo3,
     .answer = olmo3_answer,
     .forced_prefix = kOlmo3Style.open,
     .forced = python_call},
    {.name = "pythonic",
     .signs = {"[func_name1(param"},
     .shown = {kLlama4Style.open, kLlama4Style.close},
     .parser = pythonic,
     .answer = pythonic_answer,
     .forced_prefix = "[",
     .forced = python_call},
    {.name = "hunyuan",
     .signs = {"<tool_calls>", "</tool_calls>"},
     .shown = {"<tool_calls>", "</tool_calls>"},
     .parser = hunyuan,
     .answer = hunyuan_answer,
     .forced_prefix = "<tool_calls>[",
     .parameters_key = false},
    {.name = "minimax_xml",
     .signs = {"<minimax:tool_call>", "<invoke name="},
     .shown = {"<minimax:tool_call>", "</minimax:tool_call>"},
     .parser = minimax_xml,
     .answer = minimax_answer,
     .bare_values = true,
     .forced_prefix = "",
     .parameters_key = false},
    {.name = "nemotron",
     .signs = {"<TOOLCALL>", "</TOOLCALL>"},
     .shown = {"<TOOLCALL>", "</TOOLCALL>"},
     .parser = nemotron,
     .answer = nemotron_answer,
     .forced_prefix = "<TOOLCALL>[",
     .parameters_key = false},
    {.name = "seed_xml",
     .signs = {"<seed:tool_call>", "<function="},
     .shown = {"<seed:tool_call>", "</seed:tool_call>"},
     .parser = seed_xml,
     .answer = seed_answer,
     .bare_values = true,
     .forced_prefix = "",
     .parameters_key = false},
    {.name = "qwen_xml",
     .signs = {"<function=", "<parameter="},
     .shown = {"<tool_call>", "</tool_call>"},
     .parser = qwen_xml,
     .answer = xml_answer,
     .bare_values = true,
     .forced_prefix = "",
     .parameters_key = false},
    {.name = "glm",
     .signs = {"<arg_key>", "<arg_value>"},
     .shown = {"<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"},
     .parser = make_glm_call_parser,
     .answer = glm_answer,
     .bare_values = true,
     .forced_prefix = "",
     .parameters_key = false},
    {.name = kHermes,
     .signs = {"<tool_call>", "</tool_call>"},
     .shown = {"<tool_call>", "</tool_call>"},
     .parser = hermes,
     .answer = hermes_answer,
     .forced_prefix = "<tool_call>\n",
     .parameters_key = false},
    {.name = "mistral",
     .signs = {"[TOOL_CALLS]", "[AVAILABLE_TOOLS]"},
     .shown = {"[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"},
     .short_ids = true,
     .parser = mistral,
     .answer = mistral_answer,
     .forced_prefix = "[TOOL_CALLS][",
     .parameters_key = false},
    {.name = "command",
     .signs = {"<|START_ACTION|>", "<|END_ACTION|>"},
     .shown = {"<|START_ACTION|>", "<|END_ACTION|>"},
     .parser = command,
     .answer = command_answer,
     .forced_prefix = "<|START_ACTION|>[",
     .parameters_key = true,
     .name_key = "tool_name",
     .answer_marks = {"<|START_RESPONSE|>", "<|END_RESPONSE|>"}},
    {.name = "llama3",
     .signs = {"ipython", "\"parameters\": "},
     .shown = {"<|python_tag|>"},
     .parser = llama3,
     .answer = llama3_answer,
     .forced_prefix = "",
     .parameters_key = true},
};

const Dialect* find(std::string_view name) {
  return std::find_if(std::begin(kDialects), std::end(kDialects), [name](const Dialect& d) { return d.name == name; });
}

class PlainParser final : public AnswerParser {
 public:
  void push(std::string_view text, AnswerEvents& out) override { add(out, AnswerEvent::Kind::kContent, text); }
  void finish(AnswerEvents&) override {}
  bool is_plain() const noexcept override { return true; }
};

// Leaves the dialect's answer marks out.
class UnmarkingParser final : public HoldingParser {
 public:
  UnmarkingParser(const Dialect& dialect, AnswerParserPtr rest)
      : marks_(dialect.answer_marks), rest_(std::move(rest)) {}

 protected:
  std::size_t step(std::string_view text, bool last, AnswerEvents& out) override {
    for (const std::string_view mark : marks_)
      if (text.starts_with(mark)) return mark.size();
    std::size_t shown = text.size();
    for (const std::string_view mark : marks_)
      shown = std::min({shown, text.find(mark), last ? shown : text.size() - partial_mark(text, mark)});
    rest_->push(text.substr(0, shown), out);
    return shown > 0 ? shown : kMore;
  }
  void end(AnswerEvents& out) override { rest_->finish(out); }

 private:
  const std::span<const std::string_view, 2> marks_;
  const AnswerParserPtr rest_;
};

}  // namespace

std::span<const Dialect> dialects() noexcept { return kDialects; }

const Dialect* find_dialect(std::string_view chat_template) noexcept {
  const auto has = [chat_template](std::string_view sign) {
    return chat_template.find(sign) != std::string_view::npos;
  };
  const auto writes = [has](const Dialect& dialect) {
    return (!dialect.sign.empty() && has(dialect.sign)) ||
           std::all_of(std::begin(dialect.signs), std::end(dialect.signs), has);
  };
  const auto found = std::find_if(std::begin(kDialects), std::end(kDialects), writes);
  return found == std::end(kDialects) ? nullptr : found;
}

AnswerParserPtr make_parser(const AnswerFormat& format) {
  AnswerParserPtr parser;
  if (format.dialect && (format.dialect->channels || !format.tools.is_null())) {
    parser = format.dialect->parser(format.tools);
  } else {
    parser = std::make_unique<PlainParser>();
  }
  if (format.dialect && !format.dialect->answer_marks[0].empty())
    parser = std::make_unique<UnmarkingParser>(*format.dialect, std::move(parser));
  if (format.think) parser = make_think_parser(*format.think, format.inside_think, std::move(parser));
  return parser;
}

ForcedCall forced_call(const Dialect& dialect, const Json& tools, const ToolChoice& choice) {
  Json allowed = Json::array();
  for (const Json& tool : tools) {
    if (choice.kind != ToolChoice::Kind::kNamed || tool.at("function").at("name") == choice.name)
      allowed.push_back(tool);
  }
  if (dialect.forced) return {std::string(dialect.forced_prefix), dialect.forced(allowed), &dialect};
  // Bare values leave much of a schema open: these models write Hermes's JSON as well.
  const Dialect& written = dialect.bare_values ? *find(kHermes) : dialect;
  return {std::string(written.forced_prefix),
          object_call(allowed, written.parameters_key ? "parameters" : "arguments", written.name_key), &written};
}

namespace {

// What `answer` says, behind the reasoning of a model that does that.
Json with_reasoning(const AnswerFormat& format, Json answer, bool must_come) {
  if (!format.think) return answer;
  const Json close = mark(format.think->close), gap = {{"regex", "\\s{0,2}"}};
  Json behind = Json::array({close, gap, answer});
  if (!must_come) behind = one_of(Json::array({"", std::move(behind)}));
  Json thought = Json::array({any_tokens_until({format.think->close}), std::move(behind)});
  if (format.inside_think) return thought;
  Json opened = Json::array({{{"regex", "\\s*"}}, mark(format.think->open), std::move(thought)});
  return one_of(Json::array({std::move(opened), std::move(answer)}));
}

constrain::ConstraintSpec spec_of(const Json& composition, std::string param) {
  return {constrain::ConstraintSpec::Kind::kComposition, fields::to_text(composition), {}, std::move(param)};
}

// A constraint as a part of another; null for a schema that is no JSON.
Json part_of(const constrain::ConstraintSpec& spec) {
  using Kind = constrain::ConstraintSpec::Kind;
  switch (spec.kind) {
    case Kind::kJsonObject: return {{"schema", {{"type", "object"}}}};
    case Kind::kRegex: return {{"regex", spec.text}};
    case Kind::kGbnf: return {{"gbnf", spec.text}};
    case Kind::kChoice: return one_of(Json(spec.choices));
    case Kind::kJsonSchema:
    case Kind::kComposition: break;
  }
  try {
    const Json json = parse_bounded_json(spec.text, {.depth = constrain::kCompositionDepth});
    return spec.kind == Kind::kComposition ? json : Json{{"schema", json}};
  } catch (const Error&) {  // a client wrote the schema: compiling it says what is wrong
    return nullptr;
  }
}

}  // namespace

std::optional<constrain::ConstraintSpec> answer_grammar(const AnswerFormat& format,
                                                        std::optional<constrain::ConstraintSpec> content) {
  const Json part = content ? part_of(*content) : Json();
  if (content && part.is_null()) return content;
  const bool any_strict = std::any_of(format.tools.begin(), format.tools.end(), is_strict);
  if (format.dialect && !format.tools.is_null() && (content || any_strict)) {
    const Json answer = format.dialect->answer(format.tools, part, format.think ? format.think->open : "");
    if (!answer.is_null())
      return spec_of(with_reasoning(format, answer, content.has_value()), content ? content->param : "tools");
  }
  if (!content || !format.think) return content;
  return spec_of(with_reasoning(format, part, true), content->param);
}

constrain::ConstraintSpec forced_grammar(const AnswerFormat& format, const ForcedCall& call, bool begun) {
  if (begun) return spec_of(call.grammar, "tools");
  return spec_of(with_reasoning(format, Json::array({mark(call.prefix), call.grammar}), true), "tools");
}

}  // namespace nacelle::chat
