// The table of routes: method, path, handler.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "api/http/exchange.hpp"

namespace nacelle::http {

// Answers through the exchange, now or later. May throw Error (or anything): the server makes the answer of it.
using Handler = std::function<void(const ExchangePtr&)>;

// A handler that has its answer when it returns.
Handler answer(std::function<Response(const Request&)> make);

// Where a handler runs. What parses, renders or tokenises belongs on a worker: a megabyte of it must not hold up
// others.
enum class Where { kIoThread, kWorker };

// Who may call a route where keys are asked for: anybody, a key with the role infer, or one with the role manage.
enum class Access { kOpen, kInfer, kManage };

struct Route {
  std::string method;
  // "/v1/models", or "/v1/models/{id}": a {name} at the end takes all that is left, slashes too, and elsewhere a part
  // between two slashes. Two of them at most. Of patterns that fit a path the first counts.
  std::string pattern;
  Handler handler;
  Where where = Where::kIoThread;
  Access access = Access::kInfer;
  ErrorShape error_shape = error_response;  // also of what fails before the handler runs
  std::string_view id_header = {};          // where its clients look for the request's id, beside X-Request-Id
};

class Router {
 public:
  explicit Router(std::vector<Route> routes) : routes_(std::move(routes)) {}

  struct Match {
    const Route* route = nullptr;
    std::string parameter, second;  // as in Request
    std::string allow;              // "GET, HEAD, OPTIONS": of the path; empty where there is no such path
    // Of the path's routes.
    ErrorShape error_shape = error_response;
    std::string_view id_header = {};
  };
  // HEAD finds the route of GET.
  Match find(std::string_view method, std::string_view path) const;
  // The path of a route that `path`, which has none, was most likely meant to be: but for slashes, a "/v1" too many or
  // too few, or a slip. Empty where there is no such.
  std::string near(std::string_view path) const;
  const std::vector<Route>& routes() const noexcept { return routes_; }

 private:
  std::vector<Route> routes_;
};

}  // namespace nacelle::http
