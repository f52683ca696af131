// eval: perplexity of models on a text; and against the unquantised model KL divergence and agreement, as a table and a
// plot of size against loss.
#include "core/compress/eval.hpp"

#include <fmt/format.h>

#include <cmath>
#include <fstream>
#include <optional>
#include <sstream>

#include "api/cli/commands.hpp"
#include "api/cli/output.hpp"
#include "api/cli/progress.hpp"
#include "api/cli/setup.hpp"
#include "api/cli/size_plot.hpp"

namespace nacelle::cli {
namespace {

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file || text.str().empty())
    throw Error(file.is_open() ? ErrorKind::kInvalidArgument : ErrorKind::kNotFound,
                "--text " + path + (file.is_open() ? ": it is empty or cannot be read" : ": there is no such file"),
                "text");
  return std::move(text).str();
}

// What a model's file takes.
struct FileSize {
  std::uint64_t bytes = 0, parameters = 0;
  double bits() const { return 8.0 * static_cast<double>(bytes) / static_cast<double>(parameters); }
};

FileSize size_of(const ModelFiles& files) {
  FileSize size;
  for (const TensorInfo& tensor : files.tensors()) {
    size.bytes += tensor.size;
    size.parameters += tensor.elements();
  }
  return size;
}

// One line of the table.
struct Row {
  std::string name, cache;
  FileSize size;
  std::uint64_t tokens = 0;
  Estimate perplexity;
  std::optional<Scores> beside_base;
};

class Evaluation {
 public:
  explicit Evaluation(const EvalOptions& options)
      : options_(options), host_(make_host(options.host)), text_(read_text(options.text)) {
    kv_ = options.kv;
    if (kv_.empty()) kv_.push_back("");
    for (const std::string& types : kv_) parse_cache_types(types, "kv");  // what is wrong is said before hours of work
  }

  void run() {
    if (!options_.base.empty()) {
      base_ = load(options_.base, "");
      base_windows_ = windows(*base_);
    }
    for (const std::string& path : options_.models)
      for (const std::string& types : kv_) add(*load(path, types));
  }

  // The base first.
  const std::vector<Row>& rows() const { return rows_; }
  const TextWindows& text() const { return base_windows_; }
  bool has_base() const { return base_ != nullptr; }

 private:
  std::shared_ptr<Model> load(const std::string& path, const std::string& types) {
    LoadOptions load = eval_load_options(options_.window);
    ModelFlags flags = options_.model;
    flags.max_sequences = load.max_sequences;
    flags.batch_tokens = load.max_batch_tokens;
    flags.cache_type = types;
    return load_model(*host_, flags, path, std::move(load));
  }

  TextWindows windows(const Model& model) const {
    return encode_windows(model.tokenizer(), text_, options_.window, options_.special, options_.windows);
  }

  void add(Model& model) {
    TextWindows text = windows(model);
    if (base_ && text.tokens != base_windows_.tokens)
      throw Error(ErrorKind::kInvalidArgument,
                  "--base " + base_->name() + " and " + model.name() +
                      " read the text as different tokens; expected the same model before it was quantised",
                  "base");
    Progress progress("reading with " + model.name());
    Scores scores = evaluate(model, base_.get(), text,
                             [&](std::uint64_t done, std::uint64_t total) { progress.update(done, total); });
    if (base_ && rows_.empty()) rows_.push_back(row(*base_, scores.tokens(), scores.base_perplexity()));
    rows_.push_back(row(model, scores.tokens(), scores.perplexity()));
    if (base_)
      rows_.back().beside_base = std::move(scores);
    else
      base_windows_ = std::move(text);
  }

  static Row row(const Model& model, std::uint64_t tokens, Estimate perplexity) {
    return {.name = model.name(),
            .cache = to_string({model.options().key_type, model.options().value_type}),
            .size = size_of(model.files()),
            .tokens = tokens,
            .perplexity = perplexity,
            .beside_base = {}};
  }

  const EvalOptions& options_;
  std::unique_ptr<PluginHost> host_;
  std::string text_;
  std::vector<std::string> kv_;
  std::shared_ptr<Model> base_;
  TextWindows base_windows_;
  std::vector<Row> rows_;
};

Json to_json(const Estimate& estimate) { return {{"value", estimate.value}, {"error", estimate.error}}; }

Json to_json(const Row& row) {
  Json json = {{"model", row.name},
               {"cache_type", row.cache},
               {"bytes", row.size.bytes},
               {"parameters", row.size.parameters},
               {"bits_per_weight", row.size.bits()},
               {"scored_tokens", row.tokens},
               {"perplexity", to_json(row.perplexity)}};
  if (!row.beside_base) return json;
  const Scores& scores = *row.beside_base;
  json["perplexity_ratio"] = to_json(scores.perplexity_ratio());
  json["kl_divergence"] = {{"mean", to_json(scores.divergence())},
                           {"median", scores.divergence_quantile(0.5)},
                           {"p99", scores.divergence_quantile(0.99)},
                           {"max", scores.divergence_quantile(1)}};
  json["top1_agreement"] = to_json(scores.agreement());
  return json;
}

std::string with_error(const Estimate& estimate) {
  return fmt::format("{:.4f} ± {:.4f}", estimate.value, estimate.error);
}

void print(const Evaluation& evaluation) {
  std::vector<std::vector<std::string>> table = {{"model", "KV", "size", "bits/weight", "perplexity"}};
  if (evaluation.has_base())
    for (const char* head : {"ratio", "KL mean", "KL p99", "same top"}) table.front().push_back(head);
  for (const Row& row : evaluation.rows()) {
    std::vector<std::string> cells = {row.name, row.cache, human_bytes(row.size.bytes),
                                      fmt::format("{:.2f}", row.size.bits()), with_error(row.perplexity)};
    if (row.beside_base) {
      const Scores& scores = *row.beside_base;
      const Estimate agreement = scores.agreement();
      cells.push_back(with_error(scores.perplexity_ratio()));
      cells.push_back(fmt::format("{:.5f} ± {:.5f}", scores.divergence().value, scores.divergence().error));
      cells.push_back(fmt::format("{:.5f}", scores.divergence_quantile(0.99)));
      cells.push_back(fmt::format("{:.2f} ± {:.2f} %", 100 * agreement.value, 100 * agreement.error));
    } else if (evaluation.has_base()) {
      cells.insert(cells.end(), {"base", "", "", ""});
    }
    table.push_back(std::move(cells));
  }
  print_table(table);
}

// Files of one model differ in their last part alone: "nacelle-demo-q4_k_m" is labelled "q4_k_m".
std::size_t common_start(const std::vector<Row>& rows) {
  std::size_t length = rows.front().name.size();
  for (const Row& row : rows)
    for (std::size_t i = 0; i < length; ++i)
      if (i >= row.name.size() || row.name[i] != rows.front().name[i]) length = i;
  const std::size_t cut = rows.front().name.find_last_of("-_.", length ? length - 1 : 0);
  return cut == std::string::npos || rows.size() < 2 || length == rows.front().name.size() ? 0 : cut + 1;
}

Plot plot_of(const EvalOptions& options, const Evaluation& evaluation) {
  const std::vector<Row>& rows = evaluation.rows();
  const bool beside_base = evaluation.has_base();
  Plot plot;
  plot.title = beside_base ? rows.front().name + ": what each size costs" : "perplexity by size";
  plot.y_label = beside_base ? "KL divergence from the base, nats a token" : "perplexity";
  std::uint64_t most = 0;
  for (const Row& row : rows) most = std::max(most, row.size.bytes);
  const std::uint64_t unit = most >= 10ull << 30 ? 1ull << 30 : 1ull << 20;
  plot.x_label = unit == 1ull << 30 ? "size of the weights, GiB" : "size of the weights, MiB";
  const std::size_t start = common_start(rows);
  for (const Row& row : rows) {
    if (beside_base && !row.beside_base) continue;  // the base itself
    const double y = beside_base ? row.beside_base->divergence().value : row.perplexity.value;
    plot.points.push_back({row.name.substr(start), options.kv.size() > 1 ? "KV " + row.cache : "",
                           static_cast<double>(row.size.bytes) / static_cast<double>(unit), y});
  }
  return plot;
}

void report(const EvalOptions& options, const Evaluation& evaluation) {
  if (!options.host.json) {
    print(evaluation);
    return;
  }
  Json results = Json::array();
  for (const Row& row : evaluation.rows()) results.push_back(to_json(row));
  print_json({{"text", options.text},
              {"text_tokens", evaluation.text().text_tokens},
              {"window", evaluation.text().window},
              {"windows", evaluation.text().windows()},
              {"base", evaluation.has_base() ? Json(evaluation.rows().front().name) : Json(nullptr)},
              {"results", std::move(results)}});
}

}  // namespace

int run_command(const EvalOptions& options) {
  Evaluation evaluation(options);
  evaluation.run();
  report(options, evaluation);
  if (!options.svg.empty()) {
    const std::string svg = draw(plot_of(options, evaluation));
    if (!(std::ofstream(options.svg, std::ios::binary) << svg << std::flush))
      throw Error(ErrorKind::kResource, "--svg " + options.svg + ": cannot be written", "svg");
  }
  return 0;
}

}  // namespace nacelle::cli
