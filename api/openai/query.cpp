#include "api/openai/query.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>

#include "api/openai/names.hpp"
#include "api/openai/responses_request.hpp"

namespace nacelle::openai {
namespace {

Json query_value(const std::string& text) {
  if (text == "true" || text == "false") return text == "true";
  std::int64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return std::to_string(number) == text ? Json(number) : Json(text);  // not "007", which may be a name
}

struct Page {
  std::size_t limit = 20;
  bool descending = true;
  std::string after;
};

using Items = std::vector<const Json*>;

// [begin, end) of `all`; `none` stands for the ids of an empty page.
Json page_of(const Items& all, std::size_t begin, std::size_t end, bool has_more, const Json& none) {
  Json data = Json::array();
  for (std::size_t i = begin; i < end; ++i) data.push_back(*all[i]);
  Json list = {{"object", "list"}, {"has_more", has_more}};
  list["first_id"] = data.empty() ? none : data.front()["id"];
  list["last_id"] = data.empty() ? none : data.back()["id"];
  list["data"] = std::move(data);
  return list;
}

std::size_t index_of(const Items& all, const std::string& name, const std::string& id) {
  const auto found = std::find_if(all.begin(), all.end(), [&](const Json* item) { return (*item)["id"] == id; });
  if (found == all.end()) refuse_value(name, "the id of an item of the list", id);
  return static_cast<std::size_t>(found - all.begin());
}

Page read_page(const http::Request& request) {
  static const Fields<Page> fields = {
      integer<Page>("limit", 1, 100, [](Page& p, std::int64_t v) { p.limit = static_cast<std::size_t>(v); }),
      custom<Page>("order",
                   [](Page& p, const std::string& name, const Json& v) {
                     if (v != "asc" && v != "desc") refuse_value(name, "asc or desc", v);
                     p.descending = v == "desc";
                   }),
      string<Page>("after", [](Page& p, const std::string& v) { p.after = v; }),
      custom<Page>("include", [](Page&, const std::string& name, const Json& v) { to_include(name, v); }),
  };
  Page page;
  read_fields<Page>(page, query_object(request), fields);
  return page;
}

// Anthropic's; OpenAI's lists of models have no pages.
struct ModelPage {
  std::optional<std::size_t> limit;
  std::optional<std::string> after, before;
};

// An id may look like a number or a truth value.
Field<ModelPage> id_field(const char* name, std::optional<std::string> ModelPage::*member) {
  return {name, [member](ModelPage& page, const std::string& field, const Json& value) {
            page.*member = value.is_string() || value.is_array() ? to_string(field, value) : to_text(value);
          }};
}

// What some clients put behind every address.
Field<ModelPage> without_effect(const char* name) {
  return custom<ModelPage>(name, [](ModelPage&, const std::string&, const Json&) {});
}

ModelPage read_model_page(const http::Request& request) {
  constexpr std::size_t kUsual = 20;
  static const Fields<ModelPage> fields = {
      integer<ModelPage>("limit", 1, 1000, [](ModelPage& p, std::int64_t v) { p.limit = static_cast<std::size_t>(v); }),
      id_field("after_id", &ModelPage::after),
      id_field("before_id", &ModelPage::before),
      without_effect("beta"),            // Anthropic's clients
      without_effect("client_version"),  // Codex
      without_effect("api-version"),     // Azure's
  };
  ModelPage page;
  read_fields<ModelPage>(page, query_object(request), fields);
  if (page.after && page.before) refuse_value("before_id", "absent where 'after_id' is given", *page.before);
  if (!page.limit && request.header("anthropic-version")) page.limit = kUsual;
  return page;
}

}  // namespace

Json query_object(const http::Request& request) {
  Json object = Json::object();
  for (const auto& [key, text] : request.query) {
    const bool list = key.ends_with("[]");
    const std::string name = list ? key.substr(0, key.size() - 2) : key;
    Json value = query_value(text);
    if (!object.contains(name)) {
      object[name] = list ? Json::array({std::move(value)}) : std::move(value);
    } else if (object[name].is_array()) {
      object[name].push_back(std::move(value));
    } else {
      object[name] = Json::array({object[name], std::move(value)});
    }
  }
  return object;
}

Json item_page(std::vector<const Json*> all, const http::Request& request) {
  const Page page = read_page(request);
  if (page.descending) std::reverse(all.begin(), all.end());
  const std::size_t begin = page.after.empty() ? 0 : index_of(all, "after", page.after) + 1;
  const std::size_t end = begin + std::min(page.limit, all.size() - begin);
  return page_of(all, begin, end, end < all.size(), "");
}

Json model_page(const std::vector<const Json*>& all, const http::Request& request) {
  const ModelPage page = read_model_page(request);
  std::size_t begin = page.after ? index_of(all, "after_id", *page.after) + 1 : 0;
  std::size_t end = page.before ? index_of(all, "before_id", *page.before) : all.size();
  const std::size_t count = std::min(end - begin, page.limit.value_or(all.size()));
  const bool has_more = count < end - begin;  // in the direction that was asked for
  page.before ? begin = end - count : end = begin + count;
  return page_of(all, begin, end, has_more, nullptr);
}

}  // namespace nacelle::openai
