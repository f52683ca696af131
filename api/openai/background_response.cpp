#include "api/openai/background_response.hpp"

#include <utility>

#include "core/base/log.hpp"

namespace nacelle::openai {

// The exchange's callback and exchange_ hold each other until the end.
void BackgroundResponse::follow(const http::ExchangePtr& exchange) {
  exchange_ = exchange;
  exchange->on_output([self = shared_from_this()] { self->take(); });
}

void BackgroundResponse::take() {
  if (!exchange_) return;
  if (events_) events_->append(exchange_->unsent());
  exchange_->drop_unsent();
  if (!exchange_->finished()) return;
  const http::ExchangePtr over = std::exchange(exchange_, nullptr);
  if (events_) events_->end();
  if (over->streaming()) log_end(*over);  // else the engine did not take it
}

void BackgroundResponse::cancel() {
  const http::ExchangePtr exchange = std::exchange(exchange_, nullptr);
  if (!exchange) return;
  exchange->cancel();
  shape_->cancel();
  if (events_) events_->end();
  log_end(*exchange);
}

// The log's line of the request was written when it was accepted.
void BackgroundResponse::log_end(const http::Exchange& exchange) const {
  const http::TokenCounts tokens = exchange.tokens();
  log::event(log::Level::kInfo, "background response",
             {{"response", id_},
              {"status", shape_->status()},
              {"prompt_tokens", tokens.prompt},
              {"completion_tokens", tokens.completion},
              {"id", exchange.request().id},
              {"client", owner_}});
}

}  // namespace nacelle::openai
