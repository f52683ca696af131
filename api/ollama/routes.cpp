#include "api/ollama/routes.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "api/ollama/model_cards.hpp"
#include "api/ollama/request.hpp"
#include "api/ollama/shape.hpp"
#include "api/openai/prompt.hpp"
#include "api/openai/random_id.hpp"
#include "api/openai/response_items.hpp"
#include "api/serving/embedding.hpp"
#include "api/version.hpp"

namespace nacelle::ollama {
namespace {

using fields::Json;
using http::ExchangePtr;
using openai::ServedModelPtr;
using openai::ServedModels;

[[noreturn]] void refuse(int status, std::string message, std::string param) {
  throw http::RequestError({status, std::move(message), std::move(param), ""});
}

http::Response json_response(const Json& json) { return {200, fields::to_text(json), "application/json", {}}; }

void respond(const ExchangePtr& exchange, http::Response response) {
  exchange->post([exchange, response = std::move(response)]() mutable { exchange->respond(std::move(response)); });
}

// ---- Answers

// keep_alive 0 without a prompt.
[[noreturn]] void refuse_to_unload() {
  refuse(
      403,
      "'keep_alive': 0 without a prompt would unload the model, which is for operators: POST /manage/models/unload on "
      "the management listener",
      "keep_alive");
}

// `think` in the words of the model's template. Nothing that the model cannot do is passed over.
void apply_think(const Model& model, const std::string& name, const Think& think, openai::ChatPrompt& prompt) {
  const std::string& source = model.tokenizer().chat_template();
  const bool by_level = source.find("reasoning_effort") != std::string::npos;
  const bool by_switch = source.find("enable_thinking") != std::string::npos;
  const bool able = openai::reasons(model);
  if (!able && think.on) refuse(400, "'think': the model '" + name + "' does not support thinking", "think");
  if (!able) return;
  if (!think.on && !by_switch)
    refuse(400, "'think': the model '" + name + "' always thinks; leave 'think' out", "think");
  if (!think.level.empty() && !by_level && !by_switch)
    refuse(400, "'think': the model '" + name + "' thinks, but its chat template knows no levels; send true", "think");
  if (by_switch) prompt.template_variables["enable_thinking"] = think.on;
  if (by_level && !think.level.empty()) {
    const chat::Dialect* dialect = chat::find_dialect(source);
    const bool harmony = dialect && dialect->channels;  // it knows nothing above high
    prompt.template_variables["reasoning_effort"] = think.level == "max" && harmony ? "high" : think.level;
  }
}

// As openai::check_length(); a client that asked for more context than there is hears of that too.
void check_length(const Model& model, std::size_t tokens, const AnswerBody& body, const char* param) {
  try {
    openai::check_length(model, tokens, param, !body.request.prompt_only);
  } catch (const http::RequestError& error) {
    if (body.context <= model.context()) throw;
    http::ApiError longer = error.api_error();
    longer.message += "; 'options.num_ctx' cannot make it larger: the server's --context can";
    throw http::RequestError(std::move(longer));
  }
}

// Where the client asked for more context than there is, it shall hear so instead of losing its first turns.
bool may_cut(const Model& model, const AnswerBody& body) { return body.truncate && body.context <= model.context(); }

void check_generates(const Model& model, const std::string& name) {
  if (model.description().kind == NACELLE_MODEL_RANKER)
    refuse(400, "the model '" + name + "' scores pairs of texts, for /v1/rerank; it writes none", "model");
  if (model.is_encoder())
    refuse(400, "the model '" + name + "' makes vectors of texts, for /api/embed; it writes none", "model");
}

struct Request {
  const ExchangePtr& exchange;
  Clock::time_point begin;
  ServedModelPtr model;
  AnswerHead head;
};

// False where it is answered already, as one without a prompt, which asks for its model to be loaded.
bool prepare(Request& request, const ServedModels& models, const AnswerBody& body, bool chat, bool asked) {
  request.model = find_model(models, body.model);
  request.head = {body.model, chat, body.request.logprobs.has_value(), false, {}, request.begin, Clock::now()};
  if (asked) return true;
  if (body.unload) refuse_to_unload();
  respond(request.exchange, json_response(empty_answer(request.head, "load")));
  return false;
}

void start(Request& request, AnswerBody& body, openai::PreparedChat prepared, bool continues) {
  const Model& model = *request.model->model;
  serving::GenerationPlan plan;
  plan.request = std::move(body.request);
  openai::compile_constraint(model, prepared.constraint, plan.request);
  plan.request.shown_special = std::move(prepared.shown_special);
  plan.request.continues_text = continues;
  plan.id = openai::random_id("ollama-");
  plan.stream = body.stream;
  plan.format = std::move(prepared.format);
  plan.wants_ids = request.head.context;
  if (request.head.context) request.head.prompt = prepared.tokens;
  plan.prompts = {std::move(prepared.tokens)};
  plan.shape = make_shape(std::move(request.head), &model.tokenizer());
  serving::start_generation(request.exchange, std::move(request.model), std::move(plan));
}

void chat(const ServedModels& models, const ExchangePtr& exchange) {
  Request request{exchange, Clock::now(), nullptr, {}};
  ChatBody body = parse_chat(exchange->request().body);
  if (!prepare(request, models, body, true, !body.prompt.messages.empty())) return;
  const Model& model = *request.model->model;
  check_generates(model, body.model);
  if (!model.chat_template())
    refuse(400, "the model '" + body.model + "' has no chat template; POST /api/generate lets it go on with a text",
           "model");
  if (body.think) apply_think(model, body.model, *body.think, body.prompt);
  openai::PreparedChat prepared =
      may_cut(model, body) ? openai::prepare_newest(model, body.prompt, body.constraint, body.request.max_tokens)
                           : openai::prepare_chat(model, body.prompt, body.constraint);
  check_length(model, prepared.tokens.size(), body, "messages");
  start(request, body, std::move(prepared), !body.prompt.prefill.empty());
}

// A prompt without a template: with a hole, raw, or to a model that has none.
openai::PreparedChat prepare_plain(const Model& model, const GenerateBody& body) {
  openai::PreparedChat plain;
  plain.constraint = body.constraint;
  if (!body.suffix.empty()) {
    plain.tokens = openai::encode_infill(model, body.prompt, body.suffix);
  } else {  // as one text: behind some tokens many tokenizers would begin it with a space
    plain.tokens = openai::encode_text(model, model.tokenizer().decode(body.before) + body.prompt);
  }
  return plain;
}

// The prompt as one message of the user's.
openai::PreparedChat prepare_message(const Model& model, const GenerateBody& body) {
  openai::ChatPrompt prompt;
  prompt.messages = Json::array({Json{{"role", "user"}, {"content", body.prompt}}});
  openai::prepend_system(prompt.messages, body.system);
  prompt.before = body.before;
  if (body.think) apply_think(model, body.model, *body.think, prompt);
  return openai::prepare_chat(model, prompt, body.constraint);
}

void generate(const ServedModels& models, const ExchangePtr& exchange) {
  Request request{exchange, Clock::now(), nullptr, {}};
  GenerateBody body = parse_generate(exchange->request().body);
  const bool asked = !body.prompt.empty() || !body.suffix.empty();
  if (!prepare(request, models, body, false, asked)) return;
  const Model& model = *request.model->model;
  check_generates(model, body.model);
  openai::check_token_ids(model, body.before, "context");
  const bool plain = body.raw || !body.suffix.empty() || !model.chat_template();
  if (plain && !body.system.empty())
    refuse(400, "'system': the model '" + body.model + "' has no chat template, which would show it", "system");
  if (plain && body.think && body.think->on)
    refuse(400, "'think': the model '" + body.model + "' does not support thinking", "think");
  openai::PreparedChat prepared = plain ? prepare_plain(model, body) : prepare_message(model, body);
  check_length(model, prepared.tokens.size(), body, "prompt");
  request.head.context = !body.raw;
  start(request, body, std::move(prepared), plain);
}

// ---- Embeddings

// `tokens` without as much of their end as is too long; what the tokenizer sets behind a text stays.
void cut(const Model& model, std::vector<TokenId>& tokens) {
  const std::size_t most = model.is_encoder() ? model.context() : model.context() - 1;
  if (tokens.size() <= most) return;
  const TokenId last = tokens.back();
  const std::vector<TokenId> specials = model.tokenizer().encode("", {true, true});
  tokens.resize(most);
  const bool closes = !specials.empty() && specials.back() == last && last != model.tokenizer().bos();
  if (closes) tokens.back() = last;
}

// The first of a vector's numbers, scaled to length 1 again.
void shorten(std::vector<float>& vector, std::size_t dimensions) {
  vector.resize(dimensions);
  double sum = 0;
  for (const float x : vector) sum += static_cast<double>(x) * x;
  if (sum == 0) return;
  for (float& x : vector) x = static_cast<float>(x / std::sqrt(sum));
}

serving::EmbeddingPlan embedding_plan(const Model& model, const EmbedBody& body, const char* field) {
  if (model.description().kind == NACELLE_MODEL_RANKER)
    refuse(400, "the model '" + body.model + "' scores pairs of texts, for /v1/rerank; it gives no embeddings",
           "model");
  if (body.dimensions > model.description().width)
    refuse(400,
           "'dimensions' must be at most " + std::to_string(model.description().width) + ", which the vectors of '" +
               body.model + "' have",
           "dimensions");
  serving::EmbeddingPlan plan;
  plan.field = field;
  plan.error_shape = error_response;
  for (const std::string& input : body.inputs) {
    plan.prompts.push_back(openai::encode_text(model, input));
    if (body.truncate) cut(model, plan.prompts.back());
    openai::check_length(model, plan.prompts.back().size(), field);
  }
  return plan;
}

void embed(const ServedModels& models, const ExchangePtr& exchange) {
  const Clock::time_point begin = Clock::now();
  const EmbedBody body = parse_embed(exchange->request().body);
  ServedModelPtr model = find_model(models, body.model);
  const Clock::time_point found = Clock::now();
  const auto answer = [begin, found, name = body.model](Json vectors, std::uint32_t tokens) {
    return json_response({{"model", name},
                          {"embeddings", std::move(vectors)},
                          {"total_duration", nanoseconds(begin, Clock::now())},
                          {"load_duration", nanoseconds(begin, found)},
                          {"prompt_eval_count", tokens}});
  };
  if (body.inputs.empty() && body.unload) refuse_to_unload();
  serving::EmbeddingPlan plan = embedding_plan(*model->model, body, "input");
  if (body.inputs.empty()) return respond(exchange, answer(Json::array(), 0));
  plan.respond = [answer, dimensions = body.dimensions](std::vector<std::vector<float>> vectors, const Usage& usage) {
    if (dimensions != 0)
      for (std::vector<float>& vector : vectors) shorten(vector, dimensions);
    return answer(Json(vectors), usage.prompt_tokens);
  };
  serving::start_embedding(exchange, std::move(model), std::move(plan));
}

// The older route: one text, its vector as the model gives it.
void embed_one(const ServedModels& models, const ExchangePtr& exchange) {
  const EmbedBody body = parse_embeddings(exchange->request().body);
  ServedModelPtr model = find_model(models, body.model);
  if (body.inputs.empty() && body.unload) refuse_to_unload();
  serving::EmbeddingPlan plan = embedding_plan(*model->model, body, "prompt");
  if (body.inputs.empty()) return respond(exchange, json_response({{"embedding", Json::array()}}));
  plan.normalize = false;
  plan.respond = [](const std::vector<std::vector<float>>& vectors, const Usage&) {
    return json_response({{"embedding", vectors.front()}});
  };
  serving::start_embedding(exchange, std::move(model), std::move(plan));
}

// ---- Models

http::Response show(const ServedModels& models, const http::Request& request) {
  const ShowBody body = parse_show(request.body);
  return json_response(show_model(*find_model(models, body.model), body.verbose));
}

// What is served needs no pulling.
http::Response pull(const ServedModels& models, const http::Request& request) {
  const PullBody body = parse_pull(request.body);
  try {
    find_model(models, body.model);
  } catch (const http::RequestError& error) {
    if (error.api_error().status != 404) throw;
    refuse(403,
           "the model '" + body.model.substr(0, 200) +
               "' is not served here, and models are not pulled on this listener: an operator gets one with "
               "`nacelle pull` and loads it with POST /manage/models/load on the management listener",
           "model");
  }
  const char* type = body.stream ? "application/x-ndjson" : "application/json";
  return {200, std::string(R"({"status":"success"})") + (body.stream ? "\n" : ""), type, {}};
}

struct Elsewhere {
  const char *method, *path, *instead;
};

// What changes the server's models: not on this listener.
constexpr Elsewhere kElsewhere[] = {
    {"POST", "/api/create",
     "models are not created here: an operator loads files, and adapters beside them, with POST /manage/models/load "
     "and "
     "POST /v1/load_lora_adapter on the management listener; `nacelle quantize` makes smaller ones"},
    {"POST", "/api/copy", "models are not copied here: the server's --alias gives a model another name"},
    {"POST", "/api/push", "models are not pushed from here: no registry is known to the server"},
    {"DELETE", "/api/delete",
     "models are not deleted here: an operator unloads one with POST /manage/models/unload on the management listener"},
    {"POST", "/api/blobs/{digest}",
     "files are not uploaded here: a model's are put on the server's disk, and an operator loads them with POST "
     "/manage/models/load on the management listener"},
};

http::Response version_of() { return json_response({{"version", kApiVersion}, {"nacelle", nacelle::version()}}); }

}  // namespace

std::vector<http::Route> inference_routes(const ServedModels& models) {
  using http::Access;
  using http::Where;
  const auto later = [&models](const char* path, void (*handle)(const ServedModels&, const ExchangePtr&)) {
    return http::Route{
        "POST",         path,           [&models, handle](const ExchangePtr& exchange) { handle(models, exchange); },
        Where::kWorker, Access::kInfer, error_response};
  };
  const auto now = [](const char* method, const char* path, std::function<http::Response(const http::Request&)> make,
                      Access access = Access::kInfer) {
    return http::Route{method, path, http::answer(std::move(make)), Where::kWorker, access, error_response};
  };
  std::vector<http::Route> routes = {
      later("/api/chat", chat),
      later("/api/generate", generate),
      later("/api/embed", embed),
      later("/api/embeddings", embed_one),
      now(
          "GET", "/api/version", [](const http::Request&) { return version_of(); }, Access::kOpen),
      now("GET", "/api/tags", [&models](const http::Request&) { return json_response(list_models(models)); }),
      now("GET", "/api/ps", [&models](const http::Request&) { return json_response(list_running(models)); }),
      now("POST", "/api/show", [&models](const http::Request& request) { return show(models, request); }),
      now("POST", "/api/pull", [&models](const http::Request& request) { return pull(models, request); }),
  };
  for (const Elsewhere& one : kElsewhere)
    routes.push_back(now(one.method, one.path, [&one](const http::Request&) -> http::Response {
      return ollama::error_response({403, one.instead, "", "management_listener"});
    }));
  return routes;
}

}  // namespace nacelle::ollama
