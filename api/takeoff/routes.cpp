#include "api/takeoff/routes.hpp"

#include <utility>

#include "api/openai/prompt.hpp"
#include "api/openai/random_id.hpp"
#include "api/serving/embedding.hpp"
#include "api/takeoff/request.hpp"
#include "api/takeoff/shape.hpp"

namespace nacelle::takeoff {
namespace {

openai::ServedModelPtr find_group(const openai::ServedModels& models, const std::string& group) {
  try {
    return models.find(group == "primary" ? "" : group);
  } catch (const http::RequestError& error) {
    http::ApiError named = error.api_error();
    named.param = "consumer_group";
    if (named.status == 404) named.message = "there is no consumer group '" + group.substr(0, 80) + "'";
    throw http::RequestError(std::move(named));
  }
}

// The adapter that "lora_id" names, on the group's model.
openai::ServedModelPtr find_adapter(const openai::ServedModels& models, openai::ServedModelPtr group,
                                    const std::string& lora) {
  if (lora.empty()) return group;
  for (const openai::ServedModelPtr& adapter : models.adapters()) {
    if (adapter->name() == lora && adapter->keeps == group->keeps) return adapter;
  }
  throw http::RequestError({404, "the model '" + group->name() + "' has no adapter '" + lora.substr(0, 80) + "'",
                            "lora_id", "model_not_found"});
}

void generate(const openai::ServedModels& models, const http::ExchangePtr& exchange, bool stream) {
  GenerateBody body = parse_generate(exchange->request().body);
  openai::ServedModelPtr model = find_adapter(models, find_group(models, body.consumer_group), body.lora);
  serving::GenerationPlan plan;
  plan.request = std::move(body.request);
  plan.request.continues_text = true;
  if (body.constraint) plan.request.grammar = model->model->grammars().get(*body.constraint);
  plan.id = openai::random_id("gen-");
  for (const std::string& text : body.texts) {
    plan.prompts.push_back(openai::encode_text(*model->model, text));
    openai::check_length(*model->model, plan.prompts.back().size(), "text");
  }
  plan.stream = stream;
  plan.shape = make_shape(body.list);
  serving::start_generation(exchange, std::move(model), std::move(plan));
}

// {"result": vector}, or a list of vectors for a list of texts.
void embed(const openai::ServedModels& models, const http::ExchangePtr& exchange) {
  const EmbedBody body = parse_embed(exchange->request().body);
  openai::ServedModelPtr model = find_group(models, body.consumer_group);
  serving::EmbeddingPlan plan;
  plan.field = "text";
  for (const std::string& text : body.texts) {
    plan.prompts.push_back(openai::encode_text(*model->model, text));
    openai::check_length(*model->model, plan.prompts.back().size(), "text");
  }
  plan.respond = [list = body.list](const std::vector<std::vector<float>>& vectors, const Usage&) {
    const fields::Json json = {{"result", list ? fields::Json(vectors) : fields::Json(vectors.front())}};
    return http::Response{200, fields::to_text(json), "application/json", {}};
  };
  serving::start_embedding(exchange, std::move(model), std::move(plan));
}

}  // namespace

std::vector<http::Route> inference_routes(const openai::ServedModels& models) {
  const auto route = [&models](const char* path, bool stream) -> http::Route {
    return {"POST", path, [&models, stream](const http::ExchangePtr& exchange) { generate(models, exchange, stream); },
            http::Where::kWorker};
  };
  return {route("/generate", false),
          route("/generate_stream", true),
          {"POST", "/embed", [&models](const http::ExchangePtr& exchange) { embed(models, exchange); },
           http::Where::kWorker}};
}

}  // namespace nacelle::takeoff
