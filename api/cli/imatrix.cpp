// imatrix: which channels of a model count, measured on a calibration text, for `nacelle quantize --imatrix`.
#include "core/compress/imatrix.hpp"

#include <cstdio>
#include <optional>

#include "api/cli/commands.hpp"
#include "api/cli/output.hpp"
#include "api/cli/progress.hpp"
#include "api/cli/setup.hpp"
#include "core/base/mapped_file.hpp"

namespace nacelle::cli {

int run_command(const ImatrixOptions& options) {
  constexpr std::uint32_t kWindow = 512;
  const std::uint32_t window = options.model.context != 0 ? options.model.context : kWindow;
  const LoadOptions load = compress::imatrix_load_options(window);
  ModelFlags flags = options.model;
  flags.max_sequences = load.max_sequences;
  flags.batch_tokens = load.max_batch_tokens;
  const MappedFile text(options.text);
  const auto host = make_host(options.host);
  const auto model = load_model(*host, flags, options.path, load);
  std::optional<Progress> progress(std::in_place, "measuring");
  const auto bytes = text.bytes();
  compress::Importance importance = compress::measure_importance(
      *host, *model, {reinterpret_cast<const char*>(bytes.data()), bytes.size()}, window, options.windows,
      [&](std::uint64_t done, std::uint64_t total) { progress->update(done, total); });
  progress.reset();
  importance.datasets = {options.text};
  compress::write_importance(options.out, importance);
  if (options.host.json) {
    print_json({{"path", options.out}, {"weights", importance.weights.size()}, {"windows", importance.chunks}});
  } else {
    std::printf("%s: %zu weights over %u windows of %u tokens\n", options.out.c_str(), importance.weights.size(),
                importance.chunks, importance.chunk_tokens);
  }
  return 0;
}

}  // namespace nacelle::cli
