#include "api/serving/generation.hpp"

#include <algorithm>
#include <utility>

#include "api/openai/random_id.hpp"

namespace nacelle::serving {
namespace {

using chat::AnswerEvent;
using chat::AnswerEvents;

constexpr std::size_t kShortId = 9;  // what Mistral's templates ask for

// Lives in what is posted to the exchange, as the engine's events are. Kept alive by the sinks it gave to the engine.
class Generation : public std::enable_shared_from_this<Generation> {
 public:
  Generation(http::ExchangePtr exchange, openai::ServedModelPtr model, GenerationPlan plan);
  void start();

 private:
  struct Running {
    RequestId id = 0;
    bool finished = false;
    double logprob = 0;  // of the tokens, in sum
    chat::AnswerParserPtr parser;
    chat::ReasoningCount reasoning;
    std::size_t calls = 0;
    Choice whole;  // grows where the answer is not streamed
  };

  void submit(std::size_t prompt, std::uint32_t copy);
  void handle(std::size_t index, GenerationEvent event);
  void handle_text(std::size_t index, std::string text, const Usage& usage);
  AnswerEvents read(Running& choice, const GenerationEvent& event);
  bool name_calls(Running& choice, AnswerEvents& events);
  void begin_stream();
  void open_stream();
  void keep_alive();
  std::string begun();
  void finish_if_done();
  std::vector<Choice> best() const;
  void fail(const http::ApiError& error);
  void cancel();
  void count_tokens();
  Usage total_usage() const;

  const http::ExchangePtr exchange_;
  const openai::ServedModelPtr model_;
  const GenerationPlan plan_;
  std::vector<Running> choices_;  // prompt by prompt
  std::size_t running_ = 0;
  std::string piece_;       // of handle_text(), whose memory it reuses
  bool streaming_ = false;  // the stream is open
  bool over_ = false;       // answered, failed or cancelled: later events are of no use
};

Generation::Generation(http::ExchangePtr exchange, openai::ServedModelPtr model, GenerationPlan plan)
    : exchange_(std::move(exchange)), model_(std::move(model)), plan_(std::move(plan)) {}

void Generation::start() {
  exchange_->on_cancel([self = shared_from_this()] { self->cancel(); });
  choices_.resize(plan_.prompts.size() * plan_.best_of);
  try {
    for (std::size_t prompt = 0; prompt < plan_.prompts.size() && !over_; ++prompt) {
      for (std::uint32_t copy = 0; copy < plan_.best_of; ++copy) submit(prompt, copy);
    }
    if (plan_.stream) exchange_->on_idle([self = shared_from_this()] { self->keep_alive(); });
    if (plan_.stream && plan_.open_at_once) open_stream();
    if (!plan_.stream && plan_.shape->in_pieces()) begun();
  } catch (const Error& error) {
    fail(http::to_api_error(error));
  }
}

void Generation::submit(std::size_t prompt, std::uint32_t copy) {
  const std::size_t index = prompt * plan_.best_of + copy;
  Running& choice = choices_[index];
  choice.whole.index = static_cast<std::uint32_t>(index);
  choice.parser = chat::make_parser(plan_.format);
  if (!plan_.echoes.empty() && !plan_.request.prompt_logprobs)
    add(choice.whole.events, AnswerEvent::Kind::kContent, plan_.echoes[prompt]);
  choice.parser->push(plan_.format.begun, choice.whole.events);
  name_calls(choice, choice.whole.events);

  GenerationRequest request = plan_.request;
  request.id = plan_.id;
  request.client = exchange_->request().client;
  request.prompt = plan_.prompts[prompt];
  if (request.sampling.seed) *request.sampling.seed += copy;  // n equal answers would be of no use
  if (plan_.best_of > plan_.n && !request.logprobs) request.logprobs = 0;
  const bool plain = plan_.stream && choice.parser->is_plain() && !plan_.wants_ids;
  choice.id = model_->submit(std::move(request), [self = shared_from_this(), index, plain](GenerationEvent&& event) {
    http::Exchange& exchange = *self->exchange_;
    const bool more = event.finish == FinishReason::kNone;
    if (more && plain && event.logprobs.empty() && event.prompt_logprobs.empty() && !event.text.empty())
      return exchange.post_short([self, index, text = std::move(event.text), usage = event.usage]() mutable {
        self->handle_text(index, std::move(text), usage);
      });
    auto task = [self, index, e = std::move(event)]() mutable { self->handle(index, std::move(e)); };
    if (more) return exchange.post_short(std::move(task));
    exchange.post(std::move(task));  // it may be the model's last: the engine's thread cannot end its own engine
  });
  ++running_;
}

// Most tokens of a stream are no more than a bit of text: the short way for them.
void Generation::handle_text(std::size_t index, std::string text, const Usage& usage) {
  piece_.clear();
  if (over_ || !streaming_ || !plan_.shape->add_text(choices_[index].whole.index, text, piece_)) {
    GenerationEvent event;
    event.text = std::move(text);
    event.usage = usage;
    return handle(index, std::move(event));
  }
  choices_[index].whole.usage = usage;
  exchange_->write(piece_);
}

void Generation::handle(std::size_t index, GenerationEvent event) {
  Running& choice = choices_[index];
  if (over_ || choice.finished) return;
  if (event.finish == FinishReason::kError) return fail(engine_error(event));
  if (event.finish == FinishReason::kCancelled) return fail({503, "the server is shutting down", "", "unavailable"});
  AnswerEvents events = read(choice, event);
  if (!name_calls(choice, events)) {  // one call is enough
    model_->engine.cancel(choice.id);
    event.finish = FinishReason::kStop;
  }
  for (const TokenLogprob& token : event.logprobs) choice.logprob += token.logprob;
  choice.reasoning.add(event.ids.size(), events, event.finish != FinishReason::kNone);
  event.usage.reasoning_tokens = choice.reasoning.tokens();
  choice.whole.usage = event.usage;
  choice.whole.finish = event.finish;
  choice.whole.stop = event.stop;
  if (plan_.stream || plan_.shape->in_pieces()) {
    if (plan_.stream) open_stream();
    const bool something = !events.empty() || !event.logprobs.empty() || !event.prompt_logprobs.empty() ||
                           event.finish != FinishReason::kNone || (plan_.wants_ids && !event.ids.empty());
    if (something) {
      const std::string piece = plan_.shape->piece({choice.whole.index, std::move(events), std::move(event.logprobs),
                                                    event.finish, std::move(event.stop), event.usage,
                                                    std::move(event.prompt_logprobs), std::move(event.ids)});
      if (plan_.stream) exchange_->write(piece);
    }
  } else {
    for (AnswerEvent& one : events) {
      if (one.kind == AnswerEvent::Kind::kCall) {
        choice.whole.events.push_back(std::move(one));
      } else {
        add(choice.whole.events, one.kind, one.text);
      }
    }
    std::move(event.logprobs.begin(), event.logprobs.end(), std::back_inserter(choice.whole.logprobs));
    if (!event.prompt_logprobs.empty()) choice.whole.prompt_logprobs = std::move(event.prompt_logprobs);
    if (plan_.wants_ids) choice.whole.ids.insert(choice.whole.ids.end(), event.ids.begin(), event.ids.end());
  }
  if (event.finish == FinishReason::kNone) return;
  choice.finished = true;
  --running_;
  finish_if_done();
}

AnswerEvents Generation::read(Running& choice, const GenerationEvent& event) {
  AnswerEvents events;
  if (!event.prompt_logprobs.empty() && !plan_.echoes.empty())
    add(events, AnswerEvent::Kind::kContent, plan_.echoes[choice.whole.index / plan_.best_of]);
  choice.parser->push(event.text, events);
  if (event.finish != FinishReason::kNone) choice.parser->finish(events);
  return events;
}

// Gives calls their ids. False, and the rest is dropped, where one begins that is one too many.
bool Generation::name_calls(Running& choice, AnswerEvents& events) {
  const bool short_ids = plan_.format.dialect && plan_.format.dialect->short_ids;
  for (std::size_t i = 0; i < events.size(); ++i) {
    if (events[i].kind != AnswerEvent::Kind::kCall) continue;
    if (choice.calls == 1 && !plan_.parallel_calls) {
      events.resize(i);
      return false;
    }
    ++choice.calls;
    if (!events[i].id.empty()) continue;
    events[i].id = short_ids ? openai::random_id("").substr(0, kShortId) : openai::random_id(plan_.call_prefix);
  }
  return true;
}

void Generation::begin_stream() { exchange_->start_stream(plan_.shape->stream_type()); }

// A long queue or prompt, or text that a parser holds back. From here on a failure has the status 200.
void Generation::keep_alive() {
  begin_stream();
  exchange_->write(plan_.shape->keep_alive());
}

void Generation::open_stream() {
  if (std::exchange(streaming_, true)) return;
  begin_stream();
  exchange_->write(plan_.shape->open(total_usage()));
  exchange_->write(begun());
}

// What the answers begin with before the engine's first token.
std::string Generation::begun() {
  std::string out;
  for (Running& choice : choices_) {
    if (choice.whole.events.empty()) continue;
    out += plan_.shape->piece(
        {choice.whole.index, std::exchange(choice.whole.events, {}), {}, FinishReason::kNone, "", choice.whole.usage});
  }
  return out;
}

void Generation::finish_if_done() {
  if (running_ > 0) return;
  over_ = true;
  count_tokens();
  if (!plan_.stream) return exchange_->respond(plan_.shape->whole(best(), total_usage()));
  exchange_->write(plan_.shape->close(total_usage()));
  exchange_->finish();
}

// Of each prompt's candidates the n with the highest log-probability a token, in that order.
std::vector<Choice> Generation::best() const {
  std::vector<Choice> result;
  for (std::size_t first = 0; first < choices_.size(); first += plan_.best_of) {
    std::vector<const Running*> candidates;
    for (std::size_t i = first; i < first + plan_.best_of; ++i) candidates.push_back(&choices_[i]);
    const auto score = [](const Running* one) {
      return one->logprob / std::max<double>(1, static_cast<double>(one->whole.usage.completion_tokens));
    };
    if (plan_.best_of > plan_.n) {
      std::stable_sort(candidates.begin(), candidates.end(),
                       [&](const Running* a, const Running* b) { return score(a) > score(b); });
    }
    for (std::uint32_t i = 0; i < plan_.n; ++i) {
      result.push_back(candidates[i]->whole);
      result.back().index = static_cast<std::uint32_t>(result.size() - 1);
    }
  }
  return result;
}

void Generation::fail(const http::ApiError& error) {
  if (over_) return;
  cancel();
  if (!exchange_->streaming()) return exchange_->respond(plan_.shape->error(error));
  exchange_->write(plan_.shape->failure(error));  // the status is out already
  exchange_->finish();
}

void Generation::cancel() {
  if (std::exchange(over_, true)) return;
  count_tokens();
  for (const Running& choice : choices_) {
    if (choice.id != 0 && !choice.finished) model_->engine.cancel(choice.id);
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
  if (!choices_.empty()) total.times = choices_.front().whole.usage.times;
  for (std::size_t i = 0; i < choices_.size(); ++i) {
    const Usage& usage = choices_[i].whole.usage;
    total.completion_tokens += usage.completion_tokens;
    total.reasoning_tokens += usage.reasoning_tokens;
    if (i % plan_.best_of != 0) continue;
    total.prompt_tokens += static_cast<std::uint32_t>(plan_.prompts[i / plan_.best_of].size());
    total.cached_tokens += usage.cached_tokens;
  }
  return total;
}

}  // namespace

// A lost device is no defect of the request: clients retry a 503.
http::ApiError engine_error(const GenerationEvent& event) {
  if (event.error_kind == ErrorKind::kTimeout) return {504, event.error, "timeout", "timeout"};
  if (event.error_kind == ErrorKind::kUnsupported) return {400, event.error, "", "unsupported"};
  const bool retry = event.error_kind == ErrorKind::kUnavailable;
  return {retry ? 503 : 500, event.error, "", retry ? "device_lost" : "engine_error"};
}

void start_generation(const http::ExchangePtr& exchange, openai::ServedModelPtr model, GenerationPlan plan) {
  plan.best_of = std::max(plan.best_of, plan.n);
  auto generation = std::make_shared<Generation>(exchange, std::move(model), std::move(plan));
  exchange->post([generation] { generation->start(); });
}

}  // namespace nacelle::serving
