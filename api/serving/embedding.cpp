#include "api/serving/embedding.hpp"

#include <cmath>
#include <utility>

#include "api/serving/generation.hpp"

namespace nacelle::serving {
namespace {

void scale_to_one(std::vector<float>& vector) {
  double sum = 0;
  for (const float x : vector) sum += static_cast<double>(x) * x;
  if (sum == 0) return;
  const double scale = 1 / std::sqrt(sum);
  for (float& x : vector) x = static_cast<float>(x * scale);
}

constexpr std::size_t kAtOnce = 128;  // inputs of one request in the engine

// Lives on the server's I/O thread; kept alive by the sinks it gave to the engine.
class Embedding : public std::enable_shared_from_this<Embedding> {
 public:
  Embedding(http::ExchangePtr exchange, openai::ServedModelPtr model, EmbeddingPlan plan)
      : exchange_(std::move(exchange)), model_(std::move(model)), plan_(std::move(plan)) {}

  void start() {
    exchange_->on_cancel([self = shared_from_this()] { self->cancel(); });
    vectors_.resize(plan_.prompts.size());
    submit_more();
  }

 private:
  // As many as may be under way at once, so that a long list needs no long queue. Where others fill that, the rest
  // follows those that are in it.
  void submit_more() {
    try {
      while (!over_ && ids_.size() < plan_.prompts.size() && ids_.size() < done_ + kAtOnce) submit(ids_.size());
    } catch (const BusyError& error) {
      if (ids_.size() == done_) fail(http::to_api_error(error));
    } catch (const Error& error) {
      http::ApiError api = http::to_api_error(error);
      if (api.param == "prompt") api.param = plan_.field;  // the engine's word for it
      fail(api);
    }
  }

  void submit(std::size_t index) {
    GenerationRequest request;
    request.id = "embd-" + std::to_string(index);
    request.prompt = plan_.prompts[index];
    request.client = exchange_->request().client;
    request.embed = true;
    request.mean = plan_.mean;
    if (!plan_.second_texts.empty()) request.second_text = plan_.second_texts[index];
    ids_.push_back(model_->submit(std::move(request), [self = shared_from_this(), index](GenerationEvent&& event) {
      self->exchange_->post([self, index, e = std::move(event)]() mutable { self->handle(index, std::move(e)); });
    }));
  }

  void handle(std::size_t index, GenerationEvent event) {
    if (over_) return;
    if (event.finish == FinishReason::kError) return fail(engine_error(event));
    if (event.finish == FinishReason::kCancelled) return fail({503, "the server is shutting down", "", "unavailable"});
    vectors_[index] = std::move(event.embedding);
    if (plan_.normalize) scale_to_one(vectors_[index]);
    usage_.prompt_tokens += event.usage.prompt_tokens;
    usage_.cached_tokens += event.usage.cached_tokens;
    if (++done_ < vectors_.size()) return submit_more();
    over_ = true;
    exchange_->set_tokens({usage_.prompt_tokens, 0});
    exchange_->respond(plan_.respond(vectors_, usage_));
  }

  void fail(const http::ApiError& error) {
    if (over_) return;
    cancel();
    exchange_->respond(plan_.error_shape(error, exchange_->request().id));
  }

  void cancel() {
    if (std::exchange(over_, true)) return;
    for (const RequestId id : ids_) model_->engine.cancel(id);
  }

  const http::ExchangePtr exchange_;
  const openai::ServedModelPtr model_;
  const EmbeddingPlan plan_;
  std::vector<RequestId> ids_;
  std::vector<std::vector<float>> vectors_;
  Usage usage_;
  std::size_t done_ = 0;
  bool over_ = false;  // answered, failed or cancelled
};

}  // namespace

void start_embedding(const http::ExchangePtr& exchange, openai::ServedModelPtr model, EmbeddingPlan plan) {
  auto embedding = std::make_shared<Embedding>(exchange, std::move(model), std::move(plan));
  exchange->post([embedding] { embedding->start(); });
}

}  // namespace nacelle::serving
