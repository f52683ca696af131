#include "api/openai/generation.hpp"

#include <ctime>
#include <memory>
#include <utility>

#include "api/openai/logprobs.hpp"
#include "api/openai/shapes.hpp"

namespace nacelle::openai {
namespace {

// A lost device is no defect of the request: clients retry a 503.
http::ApiError engine_error(const GenerationEvent& event) {
  if (event.error_kind == ErrorKind::kTimeout) return {504, event.error, "timeout", "timeout"};
  const bool retry = event.error_kind == ErrorKind::kUnavailable;
  return {retry ? 503 : 500, event.error, "", retry ? "device_lost" : "engine_error"};
}

// Lives on the server's I/O thread; the engine's events are posted there. Kept alive by the sinks it gave to the
// engine.
class Generation : public std::enable_shared_from_this<Generation> {
 public:
  Generation(http::ExchangePtr exchange, ServedModelPtr model, GenerationPlan plan);
  void start();

 private:
  struct Choice {
    RequestId id = 0;
    bool finished = false;
    ChoicePart whole;  // text and logprobs grow where the answer is not streamed
    std::unique_ptr<LogprobList> logprobs;
    Usage usage;
  };

  void submit(std::size_t prompt, std::uint32_t copy);
  void handle(std::size_t index, GenerationEvent event);
  void open_stream();
  void send(const std::string& json);
  void finish_if_done();
  void fail(const http::ApiError& error);
  void cancel();
  void count_tokens();
  Usage total_usage() const;

  const http::ExchangePtr exchange_;
  const ServedModelPtr model_;
  const GenerationPlan plan_;
  AnswerHead head_;
  std::vector<Choice> choices_;  // prompt by prompt
  std::size_t running_ = 0;
  bool streaming_ = false;  // the header is out
  bool over_ = false;       // answered, failed or cancelled: later events are of no use
};

Generation::Generation(http::ExchangePtr exchange, ServedModelPtr model, GenerationPlan plan)
    : exchange_(std::move(exchange)), model_(std::move(model)), plan_(std::move(plan)) {
  head_ = {plan_.chat,     plan_.body.stream,   plan_.body.include_usage, random_id(plan_.chat ? "chatcmpl-" : "cmpl-"),
           model_->name(), model_->fingerprint, std::time(nullptr)};
}

void Generation::start() {
  exchange_->on_cancel([self = shared_from_this()] { self->cancel(); });
  choices_.resize(plan_.prompts.size() * plan_.body.n);
  try {
    for (std::size_t prompt = 0; prompt < plan_.prompts.size() && !over_; ++prompt) {
      for (std::uint32_t copy = 0; copy < plan_.body.n; ++copy) submit(prompt, copy);
    }
  } catch (const Error& error) {
    fail(http::to_api_error(error));
  }
}

void Generation::submit(std::size_t prompt, std::uint32_t copy) {
  const std::size_t index = prompt * plan_.body.n + copy;
  Choice& choice = choices_[index];
  choice.whole.index = static_cast<std::uint32_t>(index);
  if (!plan_.echoes.empty()) choice.whole.text = plan_.echoes[prompt];
  if (plan_.body.request.logprobs) {
    const auto shape = plan_.chat ? LogprobList::Shape::kChat : LogprobList::Shape::kText;
    choice.logprobs =
        std::make_unique<LogprobList>(model_->model->tokenizer(), shape, count_code_points(choice.whole.text));
  }

  GenerationRequest request = plan_.body.request;
  request.id = head_.id;
  request.client = exchange_->request().client;
  request.prompt = plan_.prompts[prompt];
  if (request.sampling.seed) *request.sampling.seed += copy;  // n equal answers would be of no use
  choice.id = model_->engine.submit(std::move(request), [self = shared_from_this(), index](GenerationEvent&& event) {
    self->exchange_->post([self, index, e = std::move(event)]() mutable { self->handle(index, std::move(e)); });
  });
  ++running_;
}

void Generation::handle(std::size_t index, GenerationEvent event) {
  if (over_) return;
  Choice& choice = choices_[index];
  choice.usage = event.usage;
  if (event.finish == FinishReason::kError) return fail(engine_error(event));
  if (event.finish == FinishReason::kCancelled) return fail({503, "the server is shutting down", "", "unavailable"});
  for (const TokenLogprob& token : event.logprobs) choice.logprobs->add(token);
  if (plan_.body.stream) {
    open_stream();
    const bool something = !event.text.empty() || !event.logprobs.empty() || event.finish != FinishReason::kNone;
    if (something) {
      ChoicePart part{choice.whole.index, std::move(event.text), nullptr, event.finish};
      if (choice.logprobs) part.logprobs = choice.logprobs->take();
      send(chunk(head_, part));
    }
  } else {
    choice.whole.text += event.text;
  }
  if (event.finish == FinishReason::kNone) return;
  choice.whole.finish = event.finish;
  if (choice.logprobs && !plan_.body.stream) choice.whole.logprobs = choice.logprobs->take();
  --running_;
  finish_if_done();
}

// With the first token, not before: until then a failure can still have a status of its own.
void Generation::open_stream() {
  if (std::exchange(streaming_, true)) return;
  exchange_->start_stream("text/event-stream; charset=utf-8");
  for (Choice& choice : choices_) {
    if (plan_.chat) send(role_chunk(head_, choice.whole.index));
    if (!choice.whole.text.empty())
      send(chunk(head_, {choice.whole.index, choice.whole.text, nullptr, FinishReason::kNone}));
  }
}

void Generation::send(const std::string& json) { exchange_->write("data: " + json + "\n\n"); }

void Generation::finish_if_done() {
  if (running_ > 0) return;
  over_ = true;
  count_tokens();
  if (!plan_.body.stream) {
    std::vector<ChoicePart> parts;
    for (Choice& choice : choices_) parts.push_back(std::move(choice.whole));
    return exchange_->respond({200, whole_answer(head_, parts, total_usage()), "application/json", {}});
  }
  if (head_.include_usage) send(usage_chunk(head_, total_usage()));
  exchange_->write("data: [DONE]\n\n");
  exchange_->finish();
}

void Generation::fail(const http::ApiError& error) {
  if (over_) return;
  cancel();
  if (!streaming_) return exchange_->respond(http::error_response(error));
  send(http::error_body(error));  // the status is out already; clients know this form
  exchange_->finish();
}

void Generation::cancel() {
  if (std::exchange(over_, true)) return;
  count_tokens();
  for (const Choice& choice : choices_) {
    if (choice.id != 0) model_->engine.cancel(choice.id);
  }
}

// For the log's line of the request.
void Generation::count_tokens() {
  const Usage usage = total_usage();
  exchange_->set_tokens({usage.prompt_tokens, usage.completion_tokens});
}

// A prompt counts once, however many answers it gets.
Usage Generation::total_usage() const {
  Usage total;
  for (std::size_t i = 0; i < choices_.size(); ++i) {
    total.completion_tokens += choices_[i].usage.completion_tokens;
    if (i % plan_.body.n != 0) continue;
    total.prompt_tokens += choices_[i].usage.prompt_tokens;
    total.cached_tokens += choices_[i].usage.cached_tokens;
  }
  return total;
}

}  // namespace

void start_generation(const http::ExchangePtr& exchange, ServedModelPtr model, GenerationPlan plan) {
  auto generation = std::make_shared<Generation>(exchange, std::move(model), std::move(plan));
  exchange->post([generation] { generation->start(); });
}

}  // namespace nacelle::openai
