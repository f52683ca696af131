#include "api/http/dispatch.hpp"

#include <exception>
#include <utility>

#include "core/base/log.hpp"

namespace nacelle::http {
namespace {

void run(ServerContext& context, const std::shared_ptr<const Site>& site, const Route& route,
         const ExchangePtr& exchange, Pace pace) {
  ApiError failure;
  try {
    const Pacing pacing(pace);
    return route.handler(exchange);
  } catch (const TakesLong&) {
    const bool taken = context.slow_lane.offer(exchange->request().client, [&context, site, &route, exchange] {
      if (!exchange->cancelled()) run(context, site, route, exchange, Pace::kSlow);
    });
    return taken ? void() : run(context, site, route, exchange, Pace::kRefused);
  } catch (const Error& error) {
    failure = to_api_error(error);
  } catch (const std::exception& error) {
    log::error("{} {}: {}", exchange->request().method, exchange->request().path, error.what());
    failure = {500, "internal error; the server's log has the details", "", "internal_error"};
  }
  exchange->post(
      [exchange, response = route.error_shape(failure, exchange->request().id)] { exchange->respond(response); });
}

}  // namespace

void dispatch(ServerContext& context, const std::shared_ptr<const Site>& site, const Route& route,
              const ExchangePtr& exchange) {
  if (route.where == Where::kIoThread) return run(context, site, route, exchange, Pace::kSlow);
  boost::asio::post(context.workers,
                    [&context, site, &route, exchange] { run(context, site, route, exchange, Pace::kQuick); });
}

}  // namespace nacelle::http
