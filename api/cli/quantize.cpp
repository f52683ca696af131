// quantize: a model into a GGUF file of smaller weights.
#include "core/compress/quantize.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <map>
#include <optional>

#include "api/cli/commands.hpp"
#include "api/cli/model_source.hpp"
#include "api/cli/output.hpp"
#include "api/cli/progress.hpp"
#include "api/cli/setup.hpp"
#include "core/base/cpu_budget.hpp"
#include "core/base/log.hpp"
#include "core/base/nearest.hpp"
#include "core/compress/awq.hpp"
#include "core/compress/convert.hpp"
#include "core/compress/encode.hpp"

namespace nacelle::cli {
namespace {

namespace fs = std::filesystem;

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

[[noreturn]] void refuse_type(const std::string& flag, const std::string& name, const std::vector<std::string>& names) {
  const std::string near = nearest(name, names);
  std::string all;
  for (const std::string& one : names) all += (all.empty() ? "" : ", ") + one;
  throw Error(ErrorKind::kInvalidArgument,
              flag + ": there is no type '" + name + "'" + (near.empty() ? "" : ", did you mean " + near + "?") +
                  "; there are " + all,
              flag.substr(2));
}

const compress::Recipe& recipe_of(const std::string& name) {
  if (const auto* recipe = compress::find_recipe(lower(name))) return *recipe;
  std::vector<std::string> names;
  for (const auto& recipe : compress::recipes()) names.push_back(recipe.name);
  refuse_type("--type", name, names);
}

compress::TypeOverride override_of(const std::string& text) {
  const auto equals = text.rfind('=');
  if (equals == std::string::npos || equals == 0)
    throw Error(ErrorKind::kInvalidArgument, "--tensor must be PATTERN=TYPE, as attn_v=q6_k, not '" + text + "'",
                "tensor");
  const std::string name = lower(text.substr(equals + 1));
  std::vector<std::string> names;
  for (const TypeInfo& info : kTypes) {
    if (!compress::can_encode(info.type)) continue;
    names.push_back(lower(info.name));
    if (names.back() == name) return {text.substr(0, equals), info.type};
  }
  refuse_type("--tensor", name, names);
}

void check_out(const std::string& in, const fs::path& out) {
  if (out.empty())
    throw Error(ErrorKind::kInvalidArgument, "quantize: say where to write: nacelle quantize IN OUT.gguf", "OUT");
  std::error_code code;
  if (fs::equivalent(in, out, code))
    throw Error(ErrorKind::kInvalidArgument,
                "quantize: " + out.string() + " is the model that is read; give OUT another name", "OUT");
  if (fs::is_directory(out, code))
    throw Error(ErrorKind::kInvalidArgument,
                "quantize: " + out.string() + " is a folder; name a file in it, as " + (out / "model.gguf").string(),
                "OUT");
}

double bits(std::uint64_t bytes, std::uint64_t elements) {
  return elements == 0 ? 0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(elements);
}

struct TypeSum {
  std::uint64_t tensors = 0, elements = 0, bytes = 0;
  double worst = 0;
  std::string worst_tensor;
};

void print(const compress::QuantizeResult& result, const fs::path& out) {
  std::map<std::string, TypeSum> sums;
  for (const auto& tensor : result.tensors) {
    TypeSum& sum = sums[type_info(tensor.to)->name];
    ++sum.tensors;
    sum.elements += tensor.elements;
    sum.bytes += tensor.bytes;
    if (tensor.error > sum.worst) sum.worst = tensor.error, sum.worst_tensor = tensor.name;
  }
  std::vector<std::vector<std::string>> table = {{"TYPE", "TENSORS", "SIZE", "LARGEST ERROR", ""}};
  for (const auto& [type, sum] : sums)
    table.push_back({type, std::to_string(sum.tensors), human_bytes(sum.bytes),
                     fmt::format("{:.2f} %", 100 * sum.worst), sum.worst_tensor});
  print_table(table);
  std::printf("%s: %s, %.2f bits a weight (before: %s, %.2f); read again and verified\n", out.c_str(),
              human_bytes(result.bytes_after).c_str(), bits(result.bytes_after, result.elements),
              human_bytes(result.bytes_before).c_str(), bits(result.bytes_before, result.elements));
}

Json to_json(const compress::QuantizeResult& result, const fs::path& out) {
  Json tensors = Json::array();
  for (const auto& tensor : result.tensors)
    tensors.push_back({{"name", tensor.name},
                       {"from", type_info(tensor.from)->name},
                       {"to", type_info(tensor.to)->name},
                       {"bytes", tensor.bytes},
                       {"error", tensor.error}});
  return {{"path", out.string()},
          {"bytes", result.bytes_after},
          {"bytes_before", result.bytes_before},
          {"bits_per_weight", bits(result.bytes_after, result.elements)},
          {"tensors", std::move(tensors)}};
}

void list(const compress::SourceModel& model, const compress::QuantizeOptions& options) {
  const auto types = compress::planned_types(model, options);
  std::vector<std::vector<std::string>> table = {{"TENSOR", "SHAPE", "FROM", "TO"}};
  for (std::size_t i = 0; i < types.size(); ++i) {
    const auto& tensor = model.tensors[i];
    table.push_back({tensor.name, fmt::format("{}", fmt::join(tensor.shape, " x ")), type_info(tensor.type)->name,
                     type_info(types[i])->name});
  }
  print_table(table);
}

}  // namespace

int run_command(const QuantizeOptions& options) {
  log::configure(log::parse_level(options.host.log_level), log::parse_format(options.host.log_format));
  compress::QuantizeOptions how{.recipe = &recipe_of(options.type), .requantize = options.requantize};
  for (const std::string& text : options.tensors) how.overrides.push_back(override_of(text));
  how.threads = options.host.threads != 0 ? options.host.threads : read_cpu_budget().threads;
  compress::Importance importance;
  if (options.awq && options.imatrix.empty())
    throw Error(ErrorKind::kInvalidArgument, "--awq needs --imatrix: the statistics of a calibration text", "awq");
  if (!options.imatrix.empty()) {
    importance = compress::read_importance(options.imatrix);
    how.importance = &importance;
    how.importance_file = options.imatrix;
  }
  const fs::path in = pull_with_progress(options.in, pull_options(options.model_cache)).path, out = options.out;
  if (!options.list) check_out(in, out);
  const auto files = ModelFiles::open(in);
  // Of safetensors a plugin knows what is where.
  const auto host = files->gguf() ? nullptr : make_host(options.host);
  compress::SourceModel model = host ? compress::open_source(*host, *files) : compress::open_gguf(*files);
  if (options.list) return list(model, how), 0;

  std::optional<Progress> progress;
  std::string shown;
  how.progress = [&](const char* stage, std::uint64_t done, std::uint64_t total) {
    if (shown != stage) progress.reset(), progress.emplace(shown = stage);
    progress->update(done, total);
  };
  if (options.awq) {
    const auto types = compress::planned_types(model, how);
    const auto scaled = compress::scale_by_activation(
        model, types, importance, how.threads,
        [&](std::uint64_t done, std::uint64_t total) { how.progress("scaling", done, total); });
    if (progress) progress->wipe();
    std::fprintf(stderr, "scaled %u of %u groups of weights; weighted error of samples: %.3g, before: %.3g\n",
                 scaled.scaled, scaled.groups, scaled.after, scaled.before);
  }
  const compress::QuantizeResult result = compress::quantize(model, out, how);
  progress.reset();
  options.host.json ? print_json(to_json(result, out)) : print(result, out);
  return 0;
}

}  // namespace nacelle::cli
