#include "api/cli/model_source.hpp"

#include <optional>

#include "api/cli/progress.hpp"

namespace nacelle::cli {

hub::PullOptions pull_options(const std::filesystem::path& cache) {
  hub::PullOptions options;
  options.hub = hub::HubSettings::from_environment();
  if (!cache.empty()) options.hub.cache = cache;
  return options;
}

hub::LocalModel pull_with_progress(const std::string& text, hub::PullOptions options) {
  std::optional<Progress> progress;
  options.progress = [&progress](const std::string& name, std::uint64_t done, std::uint64_t total) {
    if (done == 0 && total == 0) {
      progress.reset();
      progress.emplace(name);
    } else {
      progress->update(done, total);
    }
  };
  return hub::pull(hub::Source::parse(text), options);
}

}  // namespace nacelle::cli
