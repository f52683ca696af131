// The body of POST /v1/completions.
#include <algorithm>

#include "api/http/message.hpp"
#include "api/openai/embedding_request.hpp"
#include "api/openai/generation_fields.hpp"
#include "api/openai/request.hpp"

namespace nacelle::openai {

namespace {

constexpr std::size_t kMaxAnswers = 256;         // prompts times n
constexpr std::uint32_t kDefaultMaxTokens = 16;  // OpenAI's, of text completions

using CompletionDraft = Draft<CompletionBody>;

Fields<CompletionDraft> completion_fields() {
  Fields<CompletionDraft> fields = generation_fields<CompletionDraft>(0);
  const Field<CompletionDraft> more[] = {
      custom<CompletionDraft>("prompt",
                              [](CompletionDraft& d, const std::string& n, const Json& v) {
                                d.prompts = to_inputs(n, v);
                                d.one_list = v.is_array() && v.front().is_number();
                              }),
      boolean<CompletionDraft>("echo", [](CompletionDraft& d, bool v) { d.echo = v; }),
      integer<CompletionDraft>(
          "logprobs", 0, 5,
          [](CompletionDraft& d, std::int64_t v) { d.request.logprobs = static_cast<std::uint32_t>(v); }),
      integer<CompletionDraft>(
          "best_of", 1, 20, [](CompletionDraft& d, std::int64_t v) { d.candidates = static_cast<std::uint32_t>(v); }),
      string<CompletionDraft>("suffix",
                              [](CompletionDraft& d, const std::string& v) {
                                if (!v.empty()) d.suffix = v;
                              }),
  };
  fields.insert(fields.end(), std::begin(more), std::end(more));
  return fields;
}

void check_suffix(const CompletionDraft& draft) {
  if (!draft.suffix) return;
  if (draft.echo) refuse_unsupported("echo", "echo together with suffix");
  for (const Prompt& prompt : draft.prompts) {
    if (!std::holds_alternative<std::string>(prompt)) refuse_unsupported("suffix", "a suffix to token ids");
  }
}

// What is asked about the prompt itself.
void take_prompt_fields(CompletionDraft& draft) {
  GenerationRequest& request = draft.request;
  if (draft.echo && request.logprobs) {
    request.prompt_logprobs = std::max(*request.logprobs, draft.prompt_logprobs.value_or(0));
    request.stop_logprob = true;  // evaluations count as many entries as prompt and answer have tokens
  }
  request.prompt_only = draft.max_tokens == 0u;
  if (request.prompt_only && !draft.echo && !request.prompt_logprobs) {
    refuse_value("max_tokens", "at least 1 where neither 'echo' nor 'prompt_logprobs' asks for the prompt", 0);
  }
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
  draft.best_of = draft.candidates != 0 ? draft.candidates : draft.n;
  if (draft.best_of < draft.n) refuse_value("best_of", "at least as large as 'n'", draft.best_of);
  if (draft.prompts.size() * draft.best_of > kMaxAnswers) {
    refuse_value("best_of", "so small that there are at most 256 candidates for all prompts", draft.best_of);
  }
  if (draft.best_of > draft.n && draft.stream) refuse_value("stream", "false where 'best_of' is larger than 'n'", true);
  check_suffix(draft);
  finish_generation(draft);
  take_prompt_fields(draft);
  return draft;
}

}  // namespace nacelle::openai
