// POST /v1/responses, in the foreground or the background, and what can be asked of those that were kept.
#include <ctime>
#include <optional>
#include <utility>

#include "api/openai/background_response.hpp"
#include "api/openai/conversation_routes.hpp"
#include "api/openai/names.hpp"
#include "api/openai/prompt.hpp"
#include "api/openai/query.hpp"
#include "api/openai/random_id.hpp"
#include "api/openai/response_store.hpp"
#include "api/openai/responses_request.hpp"
#include "api/openai/responses_shape.hpp"
#include "api/openai/routes.hpp"
#include "api/serving/generation.hpp"

namespace nacelle::openai {
namespace {

// What the handlers of all these routes share.
struct Kept {
  explicit Kept(const ServedModels& served) : models(served) {}
  const ServedModels& models;
  ResponseStore responses;
  std::shared_ptr<ConversationStore> conversations = std::make_shared<ConversationStore>();
};
using KeptPtr = std::shared_ptr<Kept>;

// ---- The prompt

Json messages_of(const Conversation& conversation) {
  Json items = Json::array();
  for (const auto& item : conversation.items) items.push_back(*item);
  return items.empty() ? items : parse_items("conversation", items).messages;
}

// What the previous response and its own predecessors said.
Json messages_of(const ResponseStore& store, const std::string& id, const std::string& client) {
  const auto refuse = [](const std::string& message, const char* code) {
    throw http::RequestError({400, message, "previous_response_id", code});
  };
  const std::string name = "the response '" + id.substr(0, 80) + "' ";
  const FoundResponse found = store.find(id, client);
  if (!found)
    refuse("no response '" + id.substr(0, 80) + "' is kept; the oldest are given up first",
           "previous_response_not_found");
  if (found.running) refuse(name + "is still under way", "previous_response_not_finished");
  if (found.kept->messages.is_null()) {
    refuse(name + "did not come to its end, or is too large to be gone on from", "previous_response_not_usable");
  }
  return found.kept->messages;
}

// Items of the client's responses that its input refers to. Together they are no more than may well fit a context: a
// body that names one of them again and again would take memory without end.
FindItem item_finder(const Kept& kept, const std::string& client) {
  constexpr std::size_t kMost = 8u << 20;
  return [&kept, &client, bytes = std::size_t{0}](const std::string& path, const std::string& id) mutable {
    const std::string json = kept.responses.find_item(id, client);
    if (json.empty()) {
      throw http::RequestError(
          {404,
           "'" + path + "': no item '" + id.substr(0, 80) +
               "' of a response is kept (the oldest are given up first, and with \"store\": false there "
               "is none); send the item itself",
           path, "item_not_found"});
    }
    if ((bytes += json.size()) > kMost)
      throw http::RequestError(
          {400, "'" + path + "': the items that are referred to take more than 8 MiB together", path, "invalid_value"});
    return parse_json(json);
  };
}

// The conversation up to the end of the input; instructions are left out.
Json conversation_of(const Kept& kept, const ResponsesBody& body, const std::string& client) {
  Json messages = Json::array();
  if (!body.previous.empty()) messages = messages_of(kept.responses, body.previous, client);
  if (!body.conversation.empty()) {
    const Conversation conversation = find_conversation(*kept.conversations, body.conversation, client, 400);
    kept.conversations->check_room(conversation);
    messages = messages_of(conversation);
  }
  messages.insert(messages.end(), body.prompt.messages.begin(), body.prompt.messages.end());
  return messages;
}

// The whole prompt.
PreparedChat prepare_response(const Model& model, const ResponsesBody& body, Json messages) {
  ChatPrompt prompt = body.prompt;
  prompt.messages = std::move(messages);
  prepend_system(prompt.messages, body.instructions);
  return body.truncate ? prepare_newest(model, prompt, body.constraint, body.request.max_tokens)
                       : prepare_chat(model, prompt, body.constraint);
}

// ---- Making one

Json with_answer(Json messages, const chat::AnswerEvents& events) {
  using Kind = chat::AnswerEvent::Kind;
  append_assistant_reasoning(messages, chat::joined(events, Kind::kReasoning));
  append_assistant_text(messages, chat::joined(events, Kind::kContent));
  for (const chat::ToolCall& call : chat::calls_of(events)) {
    append_assistant_call(messages, call.id, call.name, Json(call.arguments));
  }
  return messages;
}

// A response under way, as its end needs to know it.
struct Pending {
  KeptPtr kept;
  std::string id, client, conversation;
  bool store, background;
  Json messages;  // up to the end of the input
  std::shared_ptr<const Json> items;
  std::shared_ptr<EventLog> events;  // null: not in the background, or not streamed
};

void keep(const Pending& pending, const EndedResponse& over) {
  const Json& status = over.json["status"];
  const bool whole = status == "completed" || status == "incomplete";
  if (whole && !pending.conversation.empty()) {
    Json items = *pending.items;
    for (const Json& item : over.json["output"]) items.push_back(item);
    pending.kept->conversations->append(pending.conversation, pending.client, std::move(items));
  }
  if (!pending.store) return;
  StoredResponse response{over.text,          whole ? with_answer(pending.messages, over.said) : Json(),
                          pending.items,      pending.client,
                          pending.background, pending.events};
  if (whole)
    for (const Json& item : over.json["output"]) response.output.emplace_back(item["id"], to_text(item));
  ResponseStore& store = pending.kept->responses;
  pending.background ? store.finish(pending.id, std::move(response)) : store.put(pending.id, std::move(response));
}

// Answers once the engine has taken the request: its refusal is the answer's too.
void start_in_background(const http::ExchangePtr& exchange, ServedModelPtr model, serving::GenerationPlan plan,
                         const std::shared_ptr<ResponsesShape>& shape, const Pending& pending) {
  const auto response =
      std::make_shared<BackgroundResponse>(pending.id, pending.client, pending.items, shape, pending.events);
  pending.kept->responses.begin(pending.id, response, tree_bytes(pending.messages) + tree_bytes(*pending.items));
  const http::ExchangePtr apart = exchange->apart();
  response->follow(apart);
  plan.shape = shape;
  plan.stream = plan.open_at_once = true;
  serving::start_generation(apart, std::move(model), std::move(plan));
  exchange->post([exchange, apart, response, kept = pending.kept, id = pending.id] {
    const std::shared_ptr<EventLog>& events = response->events();
    if (apart->head() && !apart->streaming()) {
      kept->responses.erase(id, response->owner());
      exchange->respond(*apart->head());
    } else if (events && events->given_up()) {
      response->cancel();
      kept->responses.erase(id, response->owner());
      exchange->respond(http::error_response({429, "there is no room for another background stream; try again",
                                              "background", "too_many_background_responses"}));
    } else if (events) {
      events->attach(exchange, 0);
    } else {
      exchange->respond({200, response->snapshot(), "application/json", {}});
    }
  });
}

void respond(const KeptPtr& kept, const http::ExchangePtr& exchange) {
  const std::string& client = exchange->request().client;
  ResponsesBody body = parse_responses(exchange->request().body, item_finder(*kept, client));
  ServedModelPtr model = kept->models.find(body.model);
  name_items(body.items);
  Json messages = conversation_of(*kept, body, client);
  if (!reasons(*model->model)) body.repeated["reasoning"]["effort"] = nullptr;  // whatever was asked for
  PreparedChat prepared = prepare_response(*model->model, body, messages);
  check_length(*model->model, prepared.tokens.size(), "input");

  serving::GenerationPlan plan;
  plan.request = body.request;
  plan.request.shown_special = std::move(prepared.shown_special);
  compile_constraint(*model->model, prepared.constraint, plan.request);
  plan.id = random_id("resp_");
  plan.prompts = {std::move(prepared.tokens)};
  plan.stream = plan.open_at_once = body.stream;
  plan.format = std::move(prepared.format);
  plan.parallel_calls = body.prompt.parallel_calls;
  const auto pending =
      std::make_shared<const Pending>(Pending{kept, plan.id, client, body.conversation, body.store, body.background,
                                              std::move(messages), std::make_shared<const Json>(std::move(body.items)),
                                              body.background && body.stream ? kept->responses.make_log() : nullptr});
  const auto shape =
      make_responses_shape({plan.id, model->name(), std::time(nullptr), std::move(body.repeated), body.background},
                           body.request.logprobs ? &model->model->tokenizer() : nullptr,
                           [pending](const EndedResponse& over) { keep(*pending, over); });
  if (body.background) return start_in_background(exchange, std::move(model), std::move(plan), shape, *pending);
  plan.shape = shape;
  serving::start_generation(exchange, std::move(model), std::move(plan));
}

http::Response count_input(const Kept& kept, const http::Request& request) {
  const ResponsesBody body = parse_input_tokens(request.body, item_finder(kept, request.client));
  const ServedModelPtr model = kept.models.find(body.model);
  const Json messages = conversation_of(kept, body, request.client);
  const std::size_t tokens = prepare_response(*model->model, body, messages).tokens.size();
  return {200, to_text({{"object", "response.input_tokens"}, {"input_tokens", tokens}}), "application/json", {}};
}

// ---- Asking for one. On the I/O thread, where running ones may be looked at.

FoundResponse find_response(const Kept& kept, const http::Request& request) {
  if (FoundResponse found = kept.responses.find(request.parameter, request.client)) return found;
  throw http::RequestError(
      {404, "no response '" + request.parameter.substr(0, 80) + "' is kept", "response_id", "not_found"});
}

http::Response response_json(const FoundResponse& found) {
  return {200, found.running ? found.running->snapshot() : found.kept->json, "application/json", {}};
}

struct GetQuery {
  bool stream = false;
  std::optional<std::int64_t> after;  // starting_after: the last event that the client has
};

GetQuery read_query(const http::Request& request) {
  static const Fields<GetQuery> fields = {
      boolean<GetQuery>("stream", [](GetQuery& q, bool v) { q.stream = v; }),
      integer<GetQuery>("starting_after", 0, INT64_MAX, [](GetQuery& q, std::int64_t v) { q.after = v; }),
      only<GetQuery>("include_obfuscation", {false}),
      custom<GetQuery>("include", [](GetQuery&, const std::string& n, const Json& v) { to_include(n, v); }),
  };
  GetQuery query;
  read_fields<GetQuery>(query, query_object(request), fields);
  if (query.after && !query.stream) refuse_value("starting_after", "absent where 'stream' is not true", *query.after);
  return query;
}

// Where a stream of what is kept goes on. Throws RequestError(400) where it cannot.
std::size_t next_event(const FoundResponse& found, const GetQuery& query) {
  const auto refuse = [](const std::string& why) {
    throw http::RequestError({400, "'stream': " + why + "; get the response without 'stream'", "stream", "no_events"});
  };
  if (!found.events && !found.running && !found.kept->background)
    refuse("only a response that was made with 'background' and 'stream' can be streamed again");
  if (!found.events) refuse("the events of this response are not kept: it was made without 'stream', or long ago");
  if (found.events->given_up()) refuse("the events of this response were too many to be kept");
  if (query.after && *query.after >= static_cast<std::int64_t>(found.events->count())) {
    refuse_value("starting_after", "the number of an event that there was", *query.after);
  }
  return query.after ? static_cast<std::size_t>(*query.after) + 1 : 0;
}

void get(const Kept& kept, const http::ExchangePtr& exchange) {
  const http::Request& request = exchange->request();
  const GetQuery query = read_query(request);
  const FoundResponse found = find_response(kept, request);
  if (!query.stream || request.method == "HEAD") {
    return exchange->post([exchange, response = response_json(found)] { exchange->respond(response); });
  }
  const std::size_t next = next_event(found, query);
  exchange->post([exchange, next, events = found.events] {
    events->given_up() ? exchange->cancel() : events->attach(exchange, next);
  });
}

http::Response cancel(const Kept& kept, const http::Request& request) {
  const FoundResponse found = find_response(kept, request);
  if (found.running) {
    found.running->cancel();
    return response_json(found);
  }
  if (!found.kept->background) {
    throw http::RequestError(
        {400, "only a response that was made with 'background' can be cancelled", "response_id", "not_in_background"});
  }
  return response_json(found);  // it was over before
}

http::Response erase(Kept& kept, const http::Request& request) {
  const FoundResponse found = find_response(kept, request);
  if (found.running) found.running->cancel();
  kept.responses.erase(request.parameter, request.client);
  return {200, to_text({{"id", request.parameter}, {"object", "response"}, {"deleted", true}}), "application/json", {}};
}

http::Response list_input(const Kept& kept, const http::Request& request) {
  const FoundResponse found = find_response(kept, request);
  if (!found.items) {
    throw http::RequestError({404, "the input of this response was too large to be kept", "response_id", "not_found"});
  }
  std::vector<const Json*> items;
  for (const Json& item : *found.items) items.push_back(&item);
  return {200, to_text(item_page(std::move(items), request)), "application/json", {}};
}

http::Response compact(const http::Request&) {
  throw http::RequestError({400,
                            "/v1/responses/compact is not supported: no model here compacts a conversation; with "
                            "\"truncation\": \"auto\" the first turns of one that is too long are left out",
                            "", "unsupported"});
}

}  // namespace

std::vector<http::Route> response_routes(const ServedModels& models) {
  using http::Where;
  const auto kept = std::make_shared<Kept>(models);
  const auto now = [&kept](http::Response (*make)(Kept&, const http::Request&)) {
    return http::answer([kept, make](const http::Request& request) { return make(*kept, request); });
  };
  const auto look = [&kept](http::Response (*make)(const Kept&, const http::Request&)) {
    return http::answer([kept, make](const http::Request& request) { return make(*kept, request); });
  };
  std::vector<http::Route> routes = {
      {"POST", "/v1/responses", [kept](const http::ExchangePtr& exchange) { respond(kept, exchange); }, Where::kWorker},
      {"POST", "/v1/responses/input_tokens", look(count_input), Where::kWorker},
      {"POST", "/v1/responses/compact", http::answer(compact)},
      {"POST", "/v1/responses/{id}/cancel", look(cancel)},
      {"GET", "/v1/responses/{id}/input_items", look(list_input)},
      {"GET", "/v1/responses/{id}", [kept](const http::ExchangePtr& exchange) { get(*kept, exchange); }},
      {"DELETE", "/v1/responses/{id}", now(erase)},
  };
  const std::vector<http::Route> more = conversation_routes(kept->conversations);
  routes.insert(routes.end(), more.begin(), more.end());
  return routes;
}

}  // namespace nacelle::openai
