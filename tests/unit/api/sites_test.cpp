// Every route is described by /openapi.json, and nothing else is; keys and who they admit.
#include "api/sites.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cctype>
#include <future>
#include <iterator>
#include <set>

#include "api/manage/keys.hpp"
#include "api/manage/openapi.hpp"

using namespace nacelle;

namespace {

struct Parts {
  static PluginHostOptions one_thread() {
    PluginHostOptions options;
    options.threads = 1;
    return options;
  }
  PluginHost host{one_thread()};
  openai::ServedModels models;
  manage::ModelManager manager{models, [](const manage::LoadSpec&) -> openai::ServedModelPtr {
                                 throw Error(ErrorKind::kNotFound, "no such file");
                               }};
  metrics::Metrics metrics{models, host};
  ui::Listeners listeners;
  SiteParts parts{models, manager, metrics, host, listeners};
};

http::Request with(const std::string& name, const std::string& value) {
  http::Request request;
  request.headers = {{name, value}};
  return request;
}

}  // namespace

TEST_CASE("the routes and their description are the same list") {
  Parts all;
  std::set<std::string> routes;
  for (const http::Router& site : {public_site(all.parts), manage_site(all.parts)})
    for (const http::Route& route : site.routes()) routes.insert(route.method + " " + route.pattern);
  const std::vector<std::string> listed = manage::described_operations();
  const std::set<std::string> described(listed.begin(), listed.end());
  CHECK(described.size() == listed.size());
  std::vector<std::string> undescribed, absent;
  std::set_difference(routes.begin(), routes.end(), described.begin(), described.end(),
                      std::back_inserter(undescribed));
  std::set_difference(described.begin(), described.end(), routes.begin(), routes.end(), std::back_inserter(absent));
  CHECK(undescribed == std::vector<std::string>());
  CHECK(absent == std::vector<std::string>());
}

TEST_CASE("an operation asks for a key where its route does, and to manage only on the listener for that") {
  Parts all;
  const auto check = [](const http::Router& site, bool manages) {
    for (const http::Route& route : site.routes()) {
      INFO(route.method << " " << route.pattern);
      std::string method = route.method;
      for (char& c : method) c = static_cast<char>(std::tolower(c));
      const auto& operation = manage::openapi_document()["paths"].at(route.pattern).at(method);
      CHECK(operation.contains("security") == (route.access == http::Access::kOpen));
      CHECK((manages || route.access != http::Access::kManage));
    }
  };
  check(public_site(all.parts), false);
  check(manage_site(all.parts), true);
}

TEST_CASE("a change that fails is listed until the next of its name") {
  Parts all;
  std::promise<std::string> told;
  all.manager.load({.name = "x", .path = "/x"},
                   [&](const Error* error) { told.set_value(error ? error->what() : ""); });
  CHECK(told.get_future().get() == "no such file");
  const auto changes = all.manager.changes();
  REQUIRE(std::count_if(changes.begin(), changes.end(), [](const auto& c) { return c.state == "failed"; }) == 1);
  CHECK_THROWS_AS(all.models.remove_group("x"), Error);
}

TEST_CASE("key files") {
  const std::string hash(64, 'a');
  const auto keys =
      manage::parse_keys("# keys\n\nann:infer:" + hash + "\r\nbob:manage:" + hash + "  # the boss\n", "f");
  REQUIRE(keys.size() == 2);
  CHECK(keys[0].name == "ann");
  CHECK((keys[0].infer && !keys[0].manage && keys[1].infer && keys[1].manage));
  for (const std::string& bad : std::initializer_list<std::string>{
           "ann:infer", "ann:admin:" + hash, ":infer:" + hash, "ann:infer:" + hash + "a",
           "ann:infer:" + std::string(64, 'A'), "ann::" + hash, "ann:infer:" + hash + "\nann:infer:" + hash}) {
    INFO(bad);
    CHECK_THROWS_AS(manage::parse_keys(bad, "f"), Error);
  }
  const manage::NewKey made = manage::make_key("carl", "infer,manage"), other = manage::make_key("carl", "infer");
  CHECK(made.text != other.text);
  CHECK(manage::parse_keys(made.line, "f")[0].manage);
}

TEST_CASE("pages of browsers are kept off a listener without keys") {
  const http::Admit admit = manage::admit_local("");
  const http::Route route{"GET", "/manage/models", {}};
  const auto refused = [&](http::Request request) { return admit(request, route).has_value(); };
  for (const char* host : {"127.0.0.1:8081", "localhost:8081", "localhost", "[::1]:8081", "10.1.2.3"})
    CHECK_FALSE(refused(with("host", host)));
  for (const char* host : {"evil.example:8081", "127.0.0.1.evil.example", ""}) CHECK(refused(with("host", host)));
  http::Request page = with("host", "127.0.0.1:8081");
  page.headers.emplace_back("origin", "http://127.0.0.1:8080");
  CHECK(refused(page));
  page.headers.back().second = "http://127.0.0.1:8081";
  CHECK_FALSE(refused(page));
  page.headers.back().second = "null";
  CHECK(refused(page));
}
