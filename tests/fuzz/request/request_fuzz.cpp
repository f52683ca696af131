// Bodies of the POST routes -> request structs. The first byte picks the route. Only RequestError may come out,
// with a message that is short however long the body is; what is accepted lies within the documented ranges.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "api/anthropic/request.hpp"
#include "api/http/message.hpp"
#include "api/ollama/request.hpp"
#include "api/openai/embedding_request.hpp"
#include "api/openai/responses_request.hpp"
#include "api/takeoff/request.hpp"

using namespace nacelle;
using namespace nacelle::openai;

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

void check_messages(const Json& messages) {
  require(messages.is_array());
  for (const Json& message : messages) require(message.at("content").is_string());
  (void)to_text(messages);
}

void check(const GenerationBody& body) {
  const SamplingParams& sampling = body.request.sampling;
  require(body.n >= 1 && body.n <= 128);
  require(sampling.temperature >= 0 && sampling.temperature <= 2);
  require(sampling.top_p >= 0 && sampling.top_p <= 1);
  require(std::abs(sampling.frequency_penalty) <= 2 && std::abs(sampling.presence_penalty) <= 2);
  require(body.request.stop.size() <= 4);
  require(!body.request.logprobs || *body.request.logprobs <= 20);
  for (const auto& [token, bias] : sampling.logit_bias) require(token >= 0 && std::abs(bias) <= 100);
}

void check(const ollama::AnswerBody& body) {
  const SamplingParams& sampling = body.request.sampling;
  require(!body.model.empty() && body.context >= 0);
  require(sampling.temperature >= 0 && sampling.temperature <= 100);
  require(sampling.top_p >= 0 && sampling.top_p <= 1 && sampling.min_p >= 0 && sampling.min_p <= 1);
  require(sampling.repetition_penalty > 0);
  require(body.request.stop.size() <= 64);
  require(!body.request.logprobs || *body.request.logprobs <= 20);
}

void parse(unsigned route, std::string_view body) {
  switch ((route - '0') % 13) {
    case 0: {
      const ChatBody chat = parse_chat(body);
      check(chat);
      require(!chat.prompt.messages.empty());
      check_messages(chat.prompt.messages);
      break;
    }
    case 1: {
      const CompletionBody completion = parse_completion(body);
      check(completion);
      require(!completion.prompts.empty() && completion.prompts.size() * completion.n <= 256);
      break;
    }
    case 2: (void)parse_tokenize(body); break;
    case 3: {
      for (const TokenId token : parse_detokenize(body).tokens) require(token >= 0);
      break;
    }
    case 4: {
      const ResponsesBody responses = parse_responses(body);
      check(responses);
      check_messages(responses.prompt.messages);
      break;
    }
    case 5: check_messages(anthropic::parse_messages(body).prompt.messages); break;
    case 6: require(!takeoff::parse_generate(body).texts.empty()); break;
    case 7: require(!parse_embedding(body).inputs.empty()); break;
    case 8: require(!parse_rerank(body).documents.empty()); break;
    case 9: {
      const ollama::ChatBody chat = ollama::parse_chat(body);
      check(chat);
      check_messages(chat.prompt.messages);
      break;
    }
    case 10: {
      const ollama::GenerateBody generate = ollama::parse_generate(body);
      check(generate);
      for (const TokenId token : generate.before) require(token >= 0);
      break;
    }
    case 11: require(ollama::parse_embed(body).inputs.size() <= 2048); break;
    case 12: require(!ollama::parse_show(body).model.empty()); break;
  }
}

void collect(Json& json, std::vector<Json*>& nodes) {
  nodes.push_back(&json);
  if (json.is_structured()) {
    for (Json& child : json) collect(child, nodes);
  }
}

// Puts another value in the place of a random one, or drops or moves a member.
void mutate(Json& json, std::minstd_rand& random) {
  static const Json values = Json::parse(
      R"([null, true, false, 0, -1, 1, 0.5, 2.0, 3, 21, 129, 257, 1e308, -1e308, 9223372036854775807, -9223372036854775808,
          18446744073709551615, 4294967296, "", "x", "user", "assistant", "tool", "none", "text", "{\"a\": {}}", [], {}, [[]],
          [1, 2], ["a", "b"], [[1], [2]], {"5": 1}, {"type": "text", "text": "t"}, {"role": "user", "content": "c"}])");
  std::vector<Json*> nodes;
  collect(json, nodes);
  Json& node = *nodes[random() % nodes.size()];
  switch (random() % 4) {
    case 0:
      if (node.is_structured() && !node.empty()) {
        auto victim = node.begin();
        std::advance(victim, random() % node.size());
        node.erase(victim);
      }
      break;
    case 1: node = Json(*nodes[random() % nodes.size()]); break;
    default: node = values[random() % values.size()];
  }
}

}  // namespace

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned seed) {
  std::minstd_rand random(seed);
  if (size > 1 && random() % 2 == 0) {
    const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
    try {
      Json json = parse_json(body);
      mutate(json, random);
      const std::string text = to_text(json);
      if (text.size() < max_size) {
        std::memcpy(data + 1, text.data(), text.size());
        return text.size() + 1;
      }
    } catch (const http::RequestError&) {  // no tree to change
    }
  }
  return LLVMFuzzerMutate(data, size, max_size);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  try {
    parse(data[0], {reinterpret_cast<const char*>(data) + 1, size - 1});
  } catch (const http::RequestError& error) {
    require(error.api_error().status == 400 && error.api_error().message.size() < 1024);
    (void)http::error_body(error.api_error());
  }
  return 0;
}
