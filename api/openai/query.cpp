#include "api/openai/query.hpp"

#include <algorithm>
#include <charconv>

#include "api/openai/names.hpp"
#include "api/openai/responses_request.hpp"

namespace nacelle::openai {
namespace {

Json query_value(const std::string& text) {
  if (text == "true" || text == "false") return text == "true";
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() ? Json(number) : Json(text);
}

struct Page {
  std::size_t limit = 20;
  bool descending = true;
  std::string after;
};

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
  auto first = all.begin();
  if (!page.after.empty()) {
    first = std::find_if(all.begin(), all.end(), [&](const Json* item) { return (*item)["id"] == page.after; });
    if (first == all.end()) refuse_value("after", "the id of an item of the list", page.after);
    ++first;
  }
  const auto count = std::min(page.limit, static_cast<std::size_t>(all.end() - first));
  Json data = Json::array();
  for (auto item = first; item != first + static_cast<std::ptrdiff_t>(count); ++item) data.push_back(**item);
  Json list = {{"object", "list"}, {"has_more", count < static_cast<std::size_t>(all.end() - first)}};
  list["first_id"] = data.empty() ? Json("") : data.front()["id"];
  list["last_id"] = data.empty() ? Json("") : data.back()["id"];
  list["data"] = std::move(data);
  return list;
}

}  // namespace nacelle::openai
