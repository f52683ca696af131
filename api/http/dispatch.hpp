// Where a request's handler runs: on the I/O thread, on a worker, or, where that takes long, in the slow lane.
#pragma once

#include <memory>
#include <string>

#include "api/http/connection.hpp"

namespace nacelle::http {

// Has the handler answer through the exchange, now or later; what it throws becomes the answer.
void dispatch(ServerContext& context, const std::shared_ptr<const Site>& site, const Route& route,
              const ExchangePtr& exchange);

}  // namespace nacelle::http
