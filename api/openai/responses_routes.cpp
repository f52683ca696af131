// POST /v1/responses, and GET and DELETE of those that were kept.
#include <ctime>
#include <utility>

#include "api/openai/prompt.hpp"
#include "api/openai/random_id.hpp"
#include "api/openai/response_store.hpp"
#include "api/openai/responses_request.hpp"
#include "api/openai/responses_shape.hpp"
#include "api/openai/routes.hpp"
#include "api/serving/generation.hpp"

namespace nacelle::openai {
namespace {

using StorePtr = std::shared_ptr<ResponseStore>;

// The conversation before `input`: what the previous response and its own predecessors said.
Json earlier_messages(const ResponseStore& store, const std::string& id, const std::string& client) {
  if (id.empty()) return Json::array();
  if (const auto found = store.find(id, client)) return found->messages;
  throw http::RequestError({400, "no response '" + id.substr(0, 80) + "' is kept; the oldest are given up first",
                            "previous_response_id", "previous_response_not_found"});
}

Json with_answer(Json messages, const chat::AnswerEvents& events) {
  using Kind = chat::AnswerEvent::Kind;
  append_assistant_reasoning(messages, chat::joined(events, Kind::kReasoning));
  append_assistant_text(messages, chat::joined(events, Kind::kContent));
  for (const chat::ToolCall& call : chat::calls_of(events)) {
    append_assistant_call(messages, call.id, call.name, Json(call.arguments));
  }
  return messages;
}

void respond(const ServedModels& models, const StorePtr& store, const http::ExchangePtr& exchange) {
  ResponsesBody body = parse_responses(exchange->request().body);
  ServedModelPtr model = models.find(body.model);
  Json messages = earlier_messages(*store, body.previous, exchange->request().client);
  messages.insert(messages.end(), body.prompt.messages.begin(), body.prompt.messages.end());
  body.prompt.messages = messages;
  prepend_system(body.prompt.messages, body.instructions);
  if (!reasons(*model->model)) body.repeated["reasoning"]["effort"] = nullptr;  // whatever was asked for
  PreparedChat prepared = prepare_chat(*model->model, body.prompt, body.constraint);
  check_length(*model->model, prepared.tokens.size(), "input");

  serving::GenerationPlan plan;
  plan.request = body.request;
  plan.request.shown_special = std::move(prepared.shown_special);
  compile_constraint(*model->model, prepared.constraint, plan.request);
  plan.id = random_id("resp_");
  plan.prompts = {std::move(prepared.tokens)};
  plan.stream = body.stream;
  plan.format = std::move(prepared.format);
  plan.parallel_calls = body.prompt.parallel_calls;
  const auto keep = [store, keep = body.store, id = plan.id, messages = std::move(messages),
                     client = exchange->request().client](const std::string& json, const chat::AnswerEvents& events) {
    if (keep) store->put(id, {json, with_answer(messages, events), client});
  };
  plan.shape = make_responses_shape({plan.id, model->name(), std::time(nullptr), std::move(body.repeated)}, keep);
  serving::start_generation(exchange, std::move(model), std::move(plan));
}

[[noreturn]] void refuse_id(const std::string& id) {
  throw http::RequestError({404, "no response '" + id.substr(0, 80) + "' is kept", "response_id", "not_found"});
}

http::Response get(const ResponseStore& store, const http::Request& request) {
  const auto found = store.find(request.parameter, request.client);
  if (!found) refuse_id(request.parameter);
  return {200, found->json, "application/json", {}};
}

http::Response erase(ResponseStore& store, const http::Request& request) {
  const std::string& id = request.parameter;
  if (!store.erase(id, request.client)) refuse_id(id);
  return {200, to_text({{"id", id}, {"object", "response"}, {"deleted", true}}), "application/json", {}};
}

}  // namespace

std::vector<http::Route> response_routes(const ServedModels& models) {
  const auto store = std::make_shared<ResponseStore>();
  return {
      {"POST", "/v1/responses",
       [&models, store](const http::ExchangePtr& exchange) { respond(models, store, exchange); }, http::Where::kWorker},
      {"GET", "/v1/responses/{id}",
       http::answer([store](const http::Request& request) { return get(*store, request); })},
      {"DELETE", "/v1/responses/{id}",
       http::answer([store](const http::Request& request) { return erase(*store, request); })},
  };
}

}  // namespace nacelle::openai
