#include "api/ollama/option_fields.hpp"

#include <algorithm>
#include <utility>

namespace nacelle::ollama {
namespace {

using fields::custom;
using fields::Field;
using fields::Fields;
using fields::integer;
using fields::Json;
using fields::no_effect;
using fields::number;
using fields::only;
using fields::refuse_value;

using O = Options;

constexpr std::size_t kMaxStops = 64;        // editors send dozens
constexpr std::size_t kMaxStopBytes = 1024;  // each is looked for at every token
constexpr std::int64_t kDefaultLastN = 64;   // Ollama's
constexpr double kAny = 1e30;

template <float SamplingParams::*member>
Field<O> sampling(std::string name, double low, double high) {
  return number<O>(std::move(name), low, high,
                   [](O& o, double v) { o.request.sampling.*member = static_cast<float>(v); });
}

// Of how a model is loaded, which is not a request's affair here.
Field<O> loading_count(std::string name) {
  return integer<O>(std::move(name), INT32_MIN, INT32_MAX, [](O&, std::int64_t) {});
}
Field<O> loading_flag(std::string name) { return no_effect<O>(std::move(name), Json::value_t::boolean); }

void set_stop(O& options, const std::string& name, const Json& value) {
  const Json list = value.is_string() ? Json::array({value}) : value;
  if (!list.is_array() || list.size() > kMaxStops) refuse_value(name, "a list of at most 64 strings", value);
  options.request.stop.clear();
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string path = value.is_string() ? name : name + "[" + std::to_string(i) + "]";
    const std::string& text = fields::to_string(path, list[i]);
    if (text.empty() || text.size() > kMaxStopBytes) refuse_value(path, "a string of 1 to 1024 bytes", list[i]);
    options.request.stop.push_back(text);
  }
}

void set_predict(O& options, std::int64_t count) {
  options.request.max_tokens = static_cast<std::uint32_t>(std::max<std::int64_t>(count, 0));
  options.request.prompt_only = count == 0;
}

void set_seed(O& options, std::int64_t seed) {
  if (seed != -1) options.request.sampling.seed = static_cast<std::uint64_t>(seed);
}

Fields<O> option_fields() {
  using S = SamplingParams;
  return {
      sampling<&S::temperature>("temperature", 0, 100),
      integer<O>("top_k", -1, INT32_MAX,  // -1 and 0: off
                 [](O& o, std::int64_t v) {
                   o.request.sampling.top_k = static_cast<std::uint32_t>(std::max<std::int64_t>(v, 0));
                 }),
      sampling<&S::top_p>("top_p", 0, 1),
      sampling<&S::min_p>("min_p", 0, 1),
      sampling<&S::typical_p>("typical_p", 0, 1),
      sampling<&S::repetition_penalty>("repeat_penalty", 0.01, 100),
      sampling<&S::presence_penalty>("presence_penalty", -2, 2),
      sampling<&S::frequency_penalty>("frequency_penalty", -2, 2),
      integer<O>("repeat_last_n", -1, INT32_MAX, [](O& o, std::int64_t v) { o.last_n = v; }),
      integer<O>("seed", INT64_MIN, INT64_MAX, set_seed),     // -1: a fresh one
      integer<O>("num_predict", -2, INT32_MAX, set_predict),  // -1 and -2: as many as the context holds
      custom<O>("stop", set_stop),
      integer<O>("num_ctx", 0, INT32_MAX, [](O& o, std::int64_t v) { o.context = v; }),
      // What older versions of Ollama had, where it is off.
      only<O>("mirostat", {0}),
      number<O>("mirostat_tau", -kAny, kAny, [](O&, double) {}),
      number<O>("mirostat_eta", -kAny, kAny, [](O&, double) {}),
      only<O>("tfs_z", {1}),
      only<O>("penalize_newline", {true}),  // a line feed is a token as others are
      loading_count("num_keep"),            // of a context that shifts: ours does not
      loading_count("num_batch"),
      loading_count("num_gpu"),
      loading_count("main_gpu"),
      loading_count("num_thread"),
      loading_count("draft_num_predict"),
      loading_flag("numa"),
      loading_flag("low_vram"),
      loading_flag("f16_kv"),
      loading_flag("logits_all"),
      loading_flag("vocab_only"),
      loading_flag("use_mmap"),
      loading_flag("use_mlock"),
      loading_flag("embedding_only"),
  };
}

// How far the penalties look back: 0 of Ollama's turns them off, -1 has no bound.
void apply_last_n(O& options) {
  SamplingParams& sampling = options.request.sampling;
  const std::int64_t last_n = options.last_n.value_or(kDefaultLastN);
  sampling.penalty_window = static_cast<std::uint32_t>(std::max<std::int64_t>(last_n, 0));
  if (last_n != 0) return;
  sampling.repetition_penalty = 1;
  sampling.presence_penalty = sampling.frequency_penalty = 0;
}

// The rest of a duration as Go writes it: "1h30m", "1.5s". nullopt: it is none.
std::optional<double> seconds_of(std::string_view text) {
  static constexpr std::pair<std::string_view, double> kUnits[] = {
      {"ns", 1e-9}, {"us", 1e-6}, {"µs", 1e-6}, {"ms", 1e-3}, {"s", 1}, {"m", 60}, {"h", 3600}};
  if (text == "0") return 0;
  double sum = 0;
  if (text.empty()) return std::nullopt;
  while (!text.empty()) {
    const std::size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
    const std::string amount(text.substr(0, digits));
    if (amount.find_first_of("0123456789") == std::string::npos || std::count(amount.begin(), amount.end(), '.') > 1)
      return std::nullopt;
    text.remove_prefix(digits);
    const auto unit = std::find_if(std::begin(kUnits), std::end(kUnits), [&](const auto& one) {
      const std::size_t end = std::min(text.find_first_of("0123456789."), text.size());
      return text.substr(0, end) == one.first;
    });
    if (unit == std::end(kUnits)) return std::nullopt;
    sum += std::strtod(amount.c_str(), nullptr) * unit->second;
    text.remove_prefix(unit->first.size());
  }
  return sum;
}

}  // namespace

GenerationRequest default_request() {
  GenerationRequest request;
  request.sampling.temperature = 0.8f;
  request.sampling.top_k = 40;
  request.sampling.top_p = 0.9f;
  request.sampling.penalty_window = kDefaultLastN;
  return request;
}

Options read_options(const std::string& name, const Json& value) {
  static const Fields<O> fields = option_fields();
  Options options{default_request(), std::nullopt, 0};
  fields::read_fields<O>(options, fields::to_object(name, value), fields, name + ".");
  apply_last_n(options);
  return options;
}

bool keeps_nothing(const std::string& name, const Json& value) {
  if (value.is_number()) return value.get<double>() == 0;
  std::string_view text = value.is_string() ? std::string_view(value.get_ref<const std::string&>()) : "";
  if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
  const std::optional<double> seconds = seconds_of(text);
  if (!seconds) refuse_value(name, "seconds, or a duration like \"5m\" or \"1h30m\"", value);
  return *seconds == 0;
}

}  // namespace nacelle::ollama
