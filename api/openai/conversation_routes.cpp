#include "api/openai/conversation_routes.hpp"

#include <utility>

#include "api/openai/names.hpp"
#include "api/openai/query.hpp"
#include "api/openai/response_items.hpp"
#include "api/openai/responses_request.hpp"

namespace nacelle::openai {
namespace {

using ConversationsPtr = std::shared_ptr<ConversationStore>;

constexpr std::size_t kMaxItems = 20;  // that one request adds; OpenAI's limit

struct ConversationBody {
  Json metadata;  // null: none
  Json items = Json::array();
};

void set_items(ConversationBody& body, const std::string& name, const Json& value) {
  if (!to_array(name, value).empty()) body.items = parse_items(name, value, kMaxItems).items;
}

// `fields`: those of the route among metadata and items.
ConversationBody parse_conversation(const std::string& text, const Fields<ConversationBody>& fields) {
  const Json json = text.empty() ? Json::object() : parse_json(text);
  ConversationBody body;
  read_fields<ConversationBody>(body, to_object("body", json), fields);
  return body;
}

const Field<ConversationBody>& metadata_field() {
  static const auto field = custom<ConversationBody>(
      "metadata", [](ConversationBody& b, const std::string& n, const Json& v) { b.metadata = to_metadata(n, v); });
  return field;
}

const Field<ConversationBody>& items_field() {
  static const auto field = custom<ConversationBody>("items", set_items);
  return field;
}

Conversation found(ConversationStore& store, const http::Request& request) {
  return find_conversation(store, request.parameter, request.client, 404);
}

[[noreturn]] void refuse_item(const http::Request& request) {
  throw http::RequestError(
      {404,
       "the conversation '" + request.parameter.substr(0, 80) + "' has no item '" + request.second.substr(0, 80) + "'",
       "item_id", "not_found"});
}

http::Response answer_with(const Json& json) { return {200, to_text(json), "application/json", {}}; }

http::Response answer_with(const Conversation& conversation) {
  return answer_with(Json{{"id", conversation.id},
                          {"object", "conversation"},
                          {"created_at", conversation.created},
                          {"metadata", conversation.metadata}});
}

void check_include(const http::Request& request) {
  struct Nothing {
  } nothing;
  static const Fields<Nothing> fields = {
      custom<Nothing>("include", [](Nothing&, const std::string& n, const Json& v) { to_include(n, v); })};
  read_fields<Nothing>(nothing, query_object(request), fields);
}

http::Response create_conversation(ConversationStore& store, const http::Request& request) {
  ConversationBody body = parse_conversation(request.body, {metadata_field(), items_field()});
  Json metadata = body.metadata.is_null() ? Json::object() : std::move(body.metadata);
  return answer_with(store.create(request.client, std::move(metadata), std::move(body.items)));
}

http::Response get_conversation(ConversationStore& store, const http::Request& request) {
  return answer_with(found(store, request));
}

http::Response update_conversation(ConversationStore& store, const http::Request& request) {
  ConversationBody body = parse_conversation(request.body, {metadata_field()});
  if (body.metadata.is_null()) refuse_missing("metadata");
  store.set_metadata(request.parameter, request.client, std::move(body.metadata));
  return answer_with(found(store, request));
}

http::Response erase_conversation(ConversationStore& store, const http::Request& request) {
  const std::string id = found(store, request).id;
  store.erase(id, request.client);
  return answer_with(Json{{"id", id}, {"object", "conversation.deleted"}, {"deleted", true}});
}

http::Response add_items(ConversationStore& store, const http::Request& request) {
  check_include(request);
  ConversationBody body = parse_conversation(request.body, {items_field()});
  if (body.items.empty()) refuse_missing("items");
  store.check_room(found(store, request));
  const auto added = store.append(request.parameter, request.client, std::move(body.items));
  Json list = {{"object", "list"}, {"data", Json::array()}, {"has_more", false}};
  if (!added) found(store, request);  // given up meanwhile: says so
  for (const auto& item : *added) list["data"].push_back(*item);
  list["first_id"] = list["data"].front()["id"];
  list["last_id"] = list["data"].back()["id"];
  return answer_with(list);
}

http::Response list_items(ConversationStore& store, const http::Request& request) {
  return answer_with(item_page(items_of(found(store, request)), request));
}

http::Response get_item(ConversationStore& store, const http::Request& request) {
  check_include(request);
  for (const auto& item : found(store, request).items)
    if ((*item)["id"] == request.second) return answer_with(*item);
  refuse_item(request);
}

http::Response erase_item(ConversationStore& store, const http::Request& request) {
  const Conversation before = found(store, request);
  if (!store.erase_item(before.id, request.client, request.second)) refuse_item(request);
  return answer_with(before);
}

}  // namespace

Conversation find_conversation(ConversationStore& store, const std::string& id, const std::string& owner, int status) {
  if (auto conversation = store.find(id, owner)) return std::move(*conversation);
  throw http::RequestError({status,
                            "no conversation '" + id.substr(0, 80) + "' is kept; those not used for long are given up",
                            status == 404 ? "conversation_id" : "conversation", "conversation_not_found"});
}

std::vector<http::Route> conversation_routes(const ConversationsPtr& store) {
  const auto route = [&store](const char* method, const char* path,
                              http::Response (*handle)(ConversationStore&, const http::Request&),
                              http::Where where = http::Where::kIoThread) -> http::Route {
    return {method, path,
            http::answer([store, handle](const http::Request& request) { return handle(*store, request); }), where};
  };
  constexpr auto kWorker = http::Where::kWorker;
  constexpr const char *kAll = "/v1/conversations", *kOne = "/v1/conversations/{id}",
                       *kItems = "/v1/conversations/{id}/items", *kItem = "/v1/conversations/{id}/items/{item}";
  return {
      route("POST", kAll, create_conversation, kWorker),
      route("GET", kItem, get_item),
      route("DELETE", kItem, erase_item),
      route("POST", kItems, add_items, kWorker),
      route("GET", kItems, list_items),
      route("GET", kOne, get_conversation),
      route("POST", kOne, update_conversation, kWorker),
      route("DELETE", kOne, erase_conversation),
  };
}

}  // namespace nacelle::openai
