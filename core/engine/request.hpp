// What a caller asks of the engine and what comes back. Plain data.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/base/error.hpp"
#include "core/tokenizer/tokenizer.hpp"

namespace nacelle {

namespace constrain {
class Grammar;
}
struct Adapter;

// How the next token is chosen. The stages run in the order of docs/sampling.md:
//   repetition, frequency and presence penalties and logit_bias -> temperature -> top_k -> typical -> top_p -> min_p ->
//   draw.
struct SamplingParams {
  float temperature = 1.0f;         // 0: the largest logit
  std::uint32_t top_k = 0;          // 0: off
  float top_p = 1.0f;               // 1: off
  float min_p = 0.0f;               // 0: off
  float typical_p = 1.0f;           // 1: off
  float repetition_penalty = 1.0f;  // of prompt and answer; 1: off
  float frequency_penalty = 0.0f;   // a count of the answer's tokens times this is subtracted
  float presence_penalty = 0.0f;    // subtracted once for each token that the answer has
  // The three penalties look back over so many tokens of prompt and answer; 0: over all.
  std::uint32_t penalty_window = 0;
  std::vector<std::pair<TokenId, float>> logit_bias;
  std::optional<std::uint64_t> seed;  // absent: a fresh one
};

struct GenerationRequest {
  std::string id;               // for logs: "chatcmpl-..."
  std::vector<TokenId> prompt;  // at least one token
  SamplingParams sampling;
  std::uint32_t max_tokens = 0;        // 0: as many as the context holds
  std::uint32_t min_tokens = 0;        // before which the model's own end does not come
  std::vector<std::string> stop;       // text that ends the answer and is left out of it
  bool continues_text = false;         // the answer goes on inside the prompt's text: its first space is kept
  std::vector<TokenId> shown_special;  // special tokens that the text shows, as a call's marks; others are left out
  bool embed = false;                  // no answer: the prompt's last hidden row, or the encoder's, in the only event
  bool mean = false;  // to embed: the mean of all hidden rows of the prompt in place of the last; not of encoders
  std::uint32_t second_text = UINT32_MAX;  // to embed: where in the prompt the second of two texts begins
  bool ignore_eos = false;                 // go on past the model's own end tokens
  std::optional<std::uint32_t> logprobs;   // alternatives wanted beside each token, 0..20; absent: no logprobs at all
  bool stop_logprob = false;               // the stop token, which is left out of the ids, has its logprob too
  // The same of the prompt's tokens. Nothing that changes what is chosen changes these.
  std::optional<std::uint32_t> prompt_logprobs;
  bool prompt_only = false;  // no answer: the only event comes when the prompt has been read, with kLength
  std::shared_ptr<const constrain::Grammar> grammar;  // what the answer must be, of Model::grammars(); may be null

  std::shared_ptr<const Adapter> adapter;  // of Model::load_adapter; null: the model as it is

  // Where it stands among the others (docs/engine.md).
  std::string client;                    // whose it is: clients get equal shares; empty: the nameless share one
  std::int32_t priority = 0;             // lower is served first, whatever the shares
  std::chrono::milliseconds timeout{0};  // from submit to the last token; 0: none
  std::string cache_salt;                // prefixes are found again only by requests with the same salt
};

enum class FinishReason { kNone, kStop, kLength, kCancelled, kError };

// "stop", "length", "cancelled", "error"; "" for kNone.
const char* to_string(FinishReason reason) noexcept;

struct TokenLogprob {
  TokenId id = 0;
  float logprob = 0;                           // of the model's own distribution, before penalties and temperature
  std::vector<std::pair<TokenId, float>> top;  // best first
  std::uint32_t rank = 0;  // of a prompt's token: its place, 1 is the likeliest; 0: the first, with nothing before it
};

// Moments of a request's life, of the engine's clock; the epoch where it has not come to that.
struct UsageTimes {
  std::chrono::steady_clock::time_point scheduled{};    // the first step with a row of the request began
  std::chrono::steady_clock::time_point first_token{};  // the step that made it was done
  std::chrono::steady_clock::time_point last_token{};
};

struct Usage {
  std::uint32_t prompt_tokens = 0;
  std::uint32_t completion_tokens = 0;
  std::uint32_t cached_tokens = 0;     // prompt tokens whose KV was found in the prefix cache
  std::uint32_t reasoning_tokens = 0;  // of the completion; the API's to fill in, as it reads the text
  UsageTimes times = {};
};

// One piece of an answer. Text is whole code points; it may be empty while a stop string or a code point is incomplete.
struct GenerationEvent {
  std::string text;
  std::vector<TokenId> ids;            // the stop token is left out
  std::vector<TokenLogprob> logprobs;  // one for each id, where asked
  // Where asked, in the first event: one for each token of the prompt; the first one's has the id alone.
  std::vector<TokenLogprob> prompt_logprobs;
  FinishReason finish = FinishReason::kNone;
  std::vector<float> embedding;                 // of a request to embed: as the model gave it
  std::string stop;                             // with kStop: the stop string that was found; empty: the model ended
  Usage usage;                                  // so far
  std::string error;                            // one line, with kError
  ErrorKind error_kind = ErrorKind::kInternal;  // with kError; kUnavailable: the same request may succeed later
};

// Called on the engine's thread, events of one request in order, the last one with `finish` set. Must not block or
// throw.
using EventSink = std::function<void(GenerationEvent&&)>;

}  // namespace nacelle
