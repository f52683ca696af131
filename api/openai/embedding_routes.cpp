// POST /v1/embeddings and /v1/rerank.
#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <utility>

#include "api/openai/embedding_request.hpp"
#include "api/openai/prompt.hpp"
#include "api/openai/random_id.hpp"
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
  if (model->model->description().kind == NACELLE_MODEL_RANKER)
    throw http::RequestError({400,
                              "the model '" + model->name() +
                                  "' scores pairs of texts, for /v1/rerank; it gives no "
                                  "embeddings",
                              "model", "unsupported"});
  serving::EmbeddingPlan plan;
  plan.normalize = body.normalize;
  plan.mean = body.mean;
  for (const Prompt& input : body.inputs) {
    const auto* text = std::get_if<std::string>(&input);
    plan.prompts.push_back(text ? encode_text(*model->model, *text) : std::get<std::vector<TokenId>>(input));
    if (!text)
      check_token_ids(*model->model, plan.prompts.back(),
                      body.one_list ? "input" : element("input", plan.prompts.size() - 1));
    check_length(*model->model, plan.prompts.back().size(), "input");
  }
  plan.respond = [base64 = body.base64, name = model->name()](const auto& vectors, const Usage& usage) {
    Json data = Json::array();
    for (const std::vector<float>& vector : vectors) {
      data.push_back({{"object", "embedding"}, {"index", data.size()}, {"embedding", vector_json(vector, base64)}});
    }
    const Json json = {{"id", random_id("embd-")},  // Mistral's clients want one
                       {"object", "list"},
                       {"data", std::move(data)},
                       {"model", name},
                       {"usage", {{"prompt_tokens", usage.prompt_tokens}, {"total_tokens", usage.prompt_tokens}}}};
    return http::Response{200, to_text(json), "application/json", {}};
  };
  serving::start_embedding(exchange, std::move(model), std::move(plan));
}

// Best first, as Cohere and Jina write it; a score is the sigmoid of the model's.
Json ranked(const RerankBody& body, const std::vector<std::vector<float>>& scores) {
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) { return scores[a][0] > scores[b][0]; });
  order.resize(std::min(order.size(), body.top_n));
  Json results = Json::array();
  for (const std::size_t index : order) {
    Json result = {{"index", index}, {"relevance_score", 1 / (1 + std::exp(-static_cast<double>(scores[index][0])))}};
    if (body.return_documents) result["document"] = {{"text", body.documents[index]}};
    results.push_back(std::move(result));
  }
  return results;
}

void rerank(const ServedModels& models, const http::ExchangePtr& exchange) {
  RerankBody body = parse_rerank(exchange->request().body);
  ServedModelPtr model = models.find(body.model);
  if (model->model->description().kind != NACELLE_MODEL_RANKER)
    throw http::RequestError(
        {400, "the model '" + model->name() + "' cannot rerank: it has no head that scores pairs of texts", "model",
         "unsupported"});
  serving::EmbeddingPlan plan;
  plan.normalize = false;
  for (const std::string& document : body.documents) {
    plan.prompts.push_back(
        model->model->tokenizer().encode_pair(body.query, document, plan.second_texts.emplace_back()));
    check_length(*model->model, plan.prompts.back().size(), "documents");
  }
  plan.respond = [body = std::move(body), name = model->name()](const auto& scores, const Usage& usage) {
    const Json json = {{"id", random_id("rerank-")},
                       {"model", name},
                       {"results", ranked(body, scores)},
                       {"usage", {{"prompt_tokens", usage.prompt_tokens}, {"total_tokens", usage.prompt_tokens}}}};
    return http::Response{200, to_text(json), "application/json", {}};
  };
  serving::start_embedding(exchange, std::move(model), std::move(plan));
}

}  // namespace

std::vector<http::Route> embedding_routes(const ServedModels& models) {
  using http::Where;
  const auto later = [&models](const char* path, void (*handle)(const ServedModels&, const http::ExchangePtr&)) {
    return http::Route{"POST", path, [&models, handle](const http::ExchangePtr& exchange) { handle(models, exchange); },
                       Where::kWorker};
  };
  return {later("/v1/embeddings", embed), later("/v1/rerank", rerank),
          later("/v2/rerank", rerank)};  // Cohere's clients
}

}  // namespace nacelle::openai
