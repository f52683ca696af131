#include "core/engine/request_check.hpp"

#include <nacelle/graph_view.hpp>
#include <string>

#include "core/base/error.hpp"
#include "core/engine/placed_model.hpp"
#include "core/engine/sampler.hpp"
#include "core/engine/step.hpp"

namespace nacelle {

void check_request(const GenerationRequest& request, Model& model) {
  const std::size_t vocabulary = model.description().vocabulary;
  if (request.prompt.empty()) throw Error(ErrorKind::kInvalidArgument, "the prompt has no tokens", "prompt");
  if (model.is_encoder() && !request.embed)
    throw Error(ErrorKind::kUnsupported,
                "the model '" + model.name() + "' is an encoder: it gives embeddings or scores, no text", "model");
  if (model.is_encoder() && request.prompt.size() > model.context())
    throw Error(ErrorKind::kInvalidArgument,
                "the text has " + std::to_string(request.prompt.size()) + " tokens, the model's context holds " +
                    std::to_string(model.context()) + "; shorten it",
                "prompt");
  if (!model.is_encoder() && request.prompt.size() + !request.prompt_only > model.context())
    throw Error(ErrorKind::kInvalidArgument,
                "the prompt has " + std::to_string(request.prompt.size()) + " tokens, the model's context holds " +
                    std::to_string(model.context()) + (request.prompt_only ? "" : " with the answer") +
                    "; shorten the prompt",
                "prompt");
  for (const TokenId token : request.prompt)
    if (token < 0 || static_cast<std::size_t>(token) >= vocabulary)
      throw Error(ErrorKind::kInvalidArgument,
                  "the prompt holds token id " + std::to_string(token) + "; the vocabulary has ids 0 to " +
                      std::to_string(vocabulary - 1),
                  "prompt");
  for (const std::string& stop : request.stop)
    if (stop.empty()) throw Error(ErrorKind::kInvalidArgument, "a stop string is empty", "stop");
  if (request.max_tokens != 0 && request.min_tokens > request.max_tokens)
    throw Error(ErrorKind::kInvalidArgument,
                "min_tokens is " + std::to_string(request.min_tokens) + ", more than max_tokens, " +
                    std::to_string(request.max_tokens),
                "min_tokens");
  if (request.logprobs && *request.logprobs > 20)
    throw Error(ErrorKind::kInvalidArgument, "at most 20 alternatives can be listed beside a token", "top_logprobs");
  if (request.prompt_logprobs && *request.prompt_logprobs > 20)
    throw Error(ErrorKind::kInvalidArgument, "at most 20 alternatives can be listed beside a token", "prompt_logprobs");
  if (request.grammar && request.ignore_eos)
    throw Error(ErrorKind::kInvalidArgument,
                "an answer with a grammar ends where the grammar does; leave ignore_eos out", "ignore_eos");
  if (request.embed && sdk::embedding_width(model.device().last().graph()) == 0)
    throw Error(ErrorKind::kUnsupported, "the model '" + model.name() + "' gives no embeddings", "model");
  if (request.mean && model.is_encoder())
    throw Error(ErrorKind::kUnsupported,
                "the model '" + model.name() + "' is an encoder, which pools as its files say; leave pooling out",
                "pooling");
  if (request.adapter && model.options().max_adapters == 0)
    throw Error(ErrorKind::kUnsupported, "the model '" + model.name() + "' was loaded without room for adapters",
                "model");
  check_sampling(request.sampling, vocabulary);
}

}  // namespace nacelle
