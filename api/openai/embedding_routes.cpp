// POST /v1/embeddings and /v1/rerank.
#include <bit>
#include <utility>

#include "api/openai/embedding_request.hpp"
#include "api/openai/prompt.hpp"
#include "api/openai/routes.hpp"
#include "api/serving/embedding.hpp"

namespace nacelle::openai {
namespace {

Json vector_json(const std::vector<float>& vector, bool base64) {
  if (!base64) return vector;
  static_assert(std::endian::native == std::endian::little, "clients read little-endian floats");
  return to_base64({reinterpret_cast<const char*>(vector.data()), vector.size() * sizeof(float)});
}

void embed(const ServedModels& models, const http::ExchangePtr& exchange) {
  const EmbeddingBody body = parse_embedding(exchange->request().body);
  ServedModelPtr model = models.find(body.model);
  serving::EmbeddingPlan plan;
  plan.normalize = body.normalize;
  for (const Prompt& input : body.inputs) {
    const auto* text = std::get_if<std::string>(&input);
    plan.prompts.push_back(text ? encode_text(*model->model, *text) : std::get<std::vector<TokenId>>(input));
    check_length(*model->model, plan.prompts.back().size(), "input");
  }
  plan.respond = [base64 = body.base64, name = model->name()](const auto& vectors, const Usage& usage) {
    Json data = Json::array();
    for (const std::vector<float>& vector : vectors) {
      data.push_back({{"object", "embedding"}, {"index", data.size()}, {"embedding", vector_json(vector, base64)}});
    }
    const Json json = {{"object", "list"},
                       {"data", std::move(data)},
                       {"model", name},
                       {"usage", {{"prompt_tokens", usage.prompt_tokens}, {"total_tokens", usage.prompt_tokens}}}};
    return http::Response{200, to_text(json), "application/json", {}};
  };
  serving::start_embedding(exchange, std::move(model), std::move(plan));
}

// No model that can be loaded yet has a head that scores pairs of texts.
http::Response rerank(const ServedModels& models, const http::Request& request) {
  const RerankBody body = parse_rerank(request.body);
  const ServedModelPtr model = models.find(body.model);
  throw http::RequestError(
      {400, "the model '" + model->name() + "' cannot rerank: it has no head that scores pairs of texts", "model",
       "unsupported"});
}

}  // namespace

std::vector<http::Route> embedding_routes(const ServedModels& models) {
  using http::Where;
  return {
      {"POST", "/v1/embeddings", [&models](const http::ExchangePtr& exchange) { embed(models, exchange); },
       Where::kWorker},
      {"POST", "/v1/rerank", http::answer([&models](const http::Request& request) { return rerank(models, request); }),
       Where::kWorker},
  };
}

}  // namespace nacelle::openai
