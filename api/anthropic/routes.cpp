#include "api/anthropic/routes.hpp"

#include <utility>

#include "api/anthropic/request.hpp"
#include "api/anthropic/shape.hpp"
#include "api/openai/prompt.hpp"
#include "api/openai/random_id.hpp"

namespace nacelle::anthropic {
namespace {

void create(const openai::ServedModels& models, const http::ExchangePtr& exchange) {
  MessagesBody body = parse_messages(exchange->request().body);
  openai::ServedModelPtr model = models.find(body.model);
  openai::PreparedChat prepared = openai::prepare_chat(*model->model, body.prompt, body.constraint);
  openai::check_length(*model->model, prepared.tokens.size(), "messages");
  serving::GenerationPlan plan;
  plan.request = std::move(body.request);
  openai::compile_constraint(*model->model, prepared.constraint, plan.request);
  plan.request.shown_special = std::move(prepared.shown_special);
  plan.request.continues_text = !body.prompt.prefill.empty();
  plan.id = openai::random_id("msg_");
  plan.prompts = {std::move(prepared.tokens)};
  plan.stream = body.stream;
  plan.format = std::move(prepared.format);
  plan.parallel_calls = body.prompt.parallel_calls;
  plan.call_prefix = "toolu_";
  plan.shape = make_shape(plan.id, model->name(), exchange->request().id, body.omit_thinking);
  serving::start_generation(exchange, std::move(model), std::move(plan));
}

http::Response count(const openai::ServedModels& models, const http::Request& request) {
  const MessagesBody body = parse_count_tokens(request.body);
  const openai::ServedModelPtr model = models.find(body.model);
  const std::size_t tokens = openai::encode_chat(*model->model, body.prompt).size();
  return {200, fields::to_text({{"input_tokens", tokens}}), "application/json", {}};
}

}  // namespace

std::vector<http::Route> inference_routes(const openai::ServedModels& models) {
  using http::Where;
  const auto route = [](const char* path, http::Handler handler) -> http::Route {
    return {"POST",         path,        std::move(handler), Where::kWorker, http::Access::kInfer,
            error_response, "Request-Id"};  // Anthropic's clients keep it with an error
  };
  return {
      route("/v1/messages", [&models](const http::ExchangePtr& exchange) { create(models, exchange); }),
      route("/v1/messages/count_tokens",
            http::answer([&models](const http::Request& request) { return count(models, request); })),
  };
}

}  // namespace nacelle::anthropic
