// The body of POST /v1/completions.
#include "api/http/message.hpp"
#include "api/openai/generation_fields.hpp"
#include "api/openai/request.hpp"

namespace nacelle::openai {

namespace {

constexpr std::size_t kMaxAnswers = 256;         // prompts times n
constexpr std::uint32_t kDefaultMaxTokens = 16;  // OpenAI's, of text completions

using CompletionDraft = Draft<CompletionBody>;

// A string, strings, token ids, or lists of token ids.
void set_prompt(CompletionDraft& draft, const std::string& name, const Json& value) {
  constexpr const char* kExpected = "a string, a list of strings, a list of token ids or a list of such lists";
  if (value.is_string()) {
    draft.prompts.emplace_back(value.get<std::string>());
    return;
  }
  if (!value.is_array() || value.empty()) refuse_value(name, kExpected, value);
  if (value.front().is_number()) {
    draft.prompts.emplace_back(to_tokens(name, value));
    return;
  }
  if (value.size() > kMaxAnswers) refuse_value(name, "a list of at most 256 prompts", value);
  for (const Json& item : value) {
    if (item.type() != value.front().type()) refuse_value(name, kExpected, item);
    if (item.is_string()) {
      draft.prompts.emplace_back(item.get<std::string>());
    } else if (item.is_array() && !item.empty()) {
      draft.prompts.emplace_back(to_tokens(name, item));
    } else {
      refuse_value(name, kExpected, item);
    }
  }
}

Fields<CompletionDraft> completion_fields() {
  Fields<CompletionDraft> fields = generation_fields<CompletionDraft>();
  const Field<CompletionDraft> more[] = {
      custom<CompletionDraft>("prompt", set_prompt),
      boolean<CompletionDraft>("echo", [](CompletionDraft& d, bool v) { d.echo = v; }),
      integer<CompletionDraft>(
          "logprobs", 0, 5,
          [](CompletionDraft& d, std::int64_t v) { d.request.logprobs = static_cast<std::uint32_t>(v); }),
      integer<CompletionDraft>("best_of", 1, 20,
                               [](CompletionDraft& d, std::int64_t v) { d.best_of = static_cast<std::uint32_t>(v); }),
      only<CompletionDraft>("suffix", {""}),
  };
  fields.insert(fields.end(), std::begin(more), std::end(more));
  return fields;
}

}  // namespace

CompletionBody parse_completion(std::string_view body) {
  static const Fields<CompletionDraft> fields = completion_fields();
  const Json json = parse_json(body);
  CompletionDraft draft;
  draft.request.max_tokens = kDefaultMaxTokens;
  read_fields<CompletionDraft>(draft, to_object("body", json), fields);
  if (draft.prompts.empty()) refuse_missing("prompt");
  if (draft.prompts.size() * draft.n > kMaxAnswers) {
    refuse_value("n", "so small that there are at most 256 answers to all prompts", draft.n);
  }
  if (draft.best_of != 0 && draft.best_of != draft.n) refuse_unsupported("best_of", "any value but that of 'n'");
  if (draft.echo && draft.request.logprobs) refuse_unsupported("echo", "echo together with logprobs");
  finish_generation(draft);
  return draft;
}

}  // namespace nacelle::openai
