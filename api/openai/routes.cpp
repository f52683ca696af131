#include "api/openai/routes.hpp"

#include <ctime>
#include <utility>

#include "api/openai/prompt.hpp"
#include "api/openai/query.hpp"
#include "api/openai/shapes.hpp"
#include "api/serving/generation.hpp"

namespace nacelle::openai {
namespace {

using http::Request;
using http::Response;

Response json_response(const Json& json) { return {200, to_text(json), "application/json", {}}; }

// What all the dialects of this folder tell the engine; the prompts are still missing.
serving::GenerationPlan make_plan(const ServedModel& model, const GenerationBody& body, bool chat, ShapeOptions shape) {
  shape.head = make_head(model, body, chat);
  shape.logprobs = body.request.logprobs.has_value();
  shape.echoed_top = body.request.logprobs.value_or(0);
  shape.prompt_logprobs = body.prompt_logprobs;
  serving::GenerationPlan plan;
  plan.request = body.request;
  plan.id = shape.head.id;
  plan.n = body.n;
  plan.stream = body.stream;
  plan.shape = make_shape(std::move(shape), &model.model->tokenizer());
  return plan;
}

void chat(const ServedModels& models, const http::ExchangePtr& exchange) {
  ChatBody body = parse_chat(exchange->request().body);
  ServedModelPtr model = models.find(body.model);
  PreparedChat prepared = prepare_chat(*model->model, body.prompt, body.constraint);
  check_length(*model->model, prepared.tokens.size(), "messages");
  serving::GenerationPlan plan =
      make_plan(*model, body, true, {.head = {}, .choices = body.n, .echoes = {}, .functions = body.functions});
  compile_constraint(*model->model, prepared.constraint, plan.request);
  plan.request.shown_special = std::move(prepared.shown_special);
  plan.request.continues_text = !body.prompt.prefill.empty();
  plan.format = std::move(prepared.format);
  plan.parallel_calls = body.prompt.parallel_calls;
  plan.prompts = {std::move(prepared.tokens)};
  serving::start_generation(exchange, std::move(model), std::move(plan));
}

std::vector<TokenId> encode_prompt(const Model& model, const CompletionBody& body, std::size_t index) {
  const Prompt& prompt = body.prompts[index];
  const auto* text = std::get_if<std::string>(&prompt);
  if (!text) {
    const auto& tokens = std::get<std::vector<TokenId>>(prompt);
    check_token_ids(model, tokens, body.one_list ? "prompt" : element("prompt", index));
    return tokens;
  }
  return body.suffix ? encode_infill(model, *text, *body.suffix) : encode_text(model, *text);
}

void complete(const ServedModels& models, const http::ExchangePtr& exchange) {
  CompletionBody body = parse_completion(exchange->request().body);
  ServedModelPtr model = models.find(body.model);
  std::vector<std::vector<TokenId>> prompts;
  std::vector<std::string> echoes;
  for (const Prompt& prompt : body.prompts) {
    prompts.push_back(encode_prompt(*model->model, body, prompts.size()));
    check_length(*model->model, prompts.back().size(), "prompt", !body.request.prompt_only);
    if (!body.echo) continue;
    const auto* text = std::get_if<std::string>(&prompt);
    echoes.push_back(text ? *text : model->model->tokenizer().decode(prompts.back()));
  }
  const auto choices = static_cast<std::uint32_t>(prompts.size() * body.n);
  serving::GenerationPlan plan =
      make_plan(*model, body, false, {.head = {}, .choices = choices, .echoes = echoes, .choices_a_prompt = body.n});
  compile_constraint(*model->model, body.constraint, plan.request);
  plan.request.continues_text = true;
  plan.best_of = body.best_of;
  plan.prompts = std::move(prompts);
  plan.echoes = std::move(echoes);
  serving::start_generation(exchange, std::move(model), std::move(plan));
}

// A token's text, or, where it is a part of a code point, its bytes.
Json piece_json(const Tokenizer& tokenizer, TokenId id) {
  const std::string_view bytes = tokenizer.token_bytes(id);
  if (is_utf8(bytes)) return bytes;
  return byte_list(bytes);
}

Response tokenize(const ServedModels& models, const Request& request) {
  const TokenizeBody body = parse_tokenize(request.body);
  const ServedModelPtr model = models.find(body.model);
  const Tokenizer& tokenizer = model->model->tokenizer();
  const auto* text = std::get_if<std::string>(&body.text);
  const std::vector<TokenId> ids = text ? tokenizer.encode(*text, {body.add_special, body.parse_special})
                                        : encode_chat(*model->model, std::get<ChatPrompt>(body.text));
  Json tokens = Json::array();
  for (const TokenId id : ids) {
    if (body.with_pieces) {
      tokens.push_back({{"id", id}, {"piece", piece_json(tokenizer, id)}});
    } else {
      tokens.push_back(id);
    }
  }
  return json_response(
      {{"tokens", std::move(tokens)}, {"count", ids.size()}, {"max_model_len", model->model->context()}});
}

Response detokenize(const ServedModels& models, const Request& request) {
  const DetokenizeBody body = parse_detokenize(request.body);
  const ServedModelPtr model = models.find(body.model);
  check_token_ids(*model->model, body.tokens, "tokens");
  return json_response({{"content", model->model->tokenizer().decode(body.tokens, false)}});
}

Json model_json(const ServedModel& model) {
  std::string created(20, '\0');  // "2026-01-31T12:00:00Z"
  const std::time_t seconds = model.created;
  std::tm utc{};
  created.resize(std::strftime(created.data(), created.size() + 1, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&seconds, &utc)));
  return {{"id", model.name()},
          {"object", "model"},
          {"type", "model"},  // Anthropic's clients read this, and the two names below
          {"display_name", model.name()},
          {"created_at", std::move(created)},
          {"created", model.created},
          {"owned_by", "nacelle"},
          {"max_model_len", model.model->context()},
          {"root", model.source.empty() ? model.name() : model.source},
          {"parent", model.adapter ? Json(model.group) : Json(nullptr)}};
}

Response list_models(const ServedModels& models, const Request& request) {
  std::vector<Json> all;
  for (const ServedModelPtr& model : models.names()) all.push_back(model_json(*model));
  std::vector<const Json*> items;
  for (const Json& json : all) items.push_back(&json);
  return json_response(model_page(items, request));
}

}  // namespace

std::vector<http::Route> inference_routes(const ServedModels& models) {
  using http::Where;
  const auto later = [&models](void (*handle)(const ServedModels&, const http::ExchangePtr&)) -> http::Handler {
    return [&models, handle](const http::ExchangePtr& exchange) { handle(models, exchange); };
  };
  const auto now = [&models](Response (*make)(const ServedModels&, const Request&)) {
    return http::answer([&models, make](const Request& request) { return make(models, request); });
  };
  return {
      {"POST", "/v1/chat/completions", later(chat), Where::kWorker},
      {"POST", "/v1/completions", later(complete), Where::kWorker},
      {"POST", "/tokenize", now(tokenize), Where::kWorker},
      {"POST", "/detokenize", now(detokenize), Where::kWorker},
  };
}

std::vector<http::Route> model_routes(const ServedModels& models) {
  return {
      {"GET", "/v1/models", http::answer([&models](const Request& request) { return list_models(models, request); })},
      {"GET", "/v1/models/{id}", http::answer([&models](const Request& request) {
         return json_response(model_json(*models.find(request.parameter)));
       })},
  };
}

}  // namespace nacelle::openai
