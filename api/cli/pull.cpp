// pull: a model into the cache, and where it lies.
#include <cstdio>
#include <filesystem>
#include <optional>

#include "api/cli/commands.hpp"
#include "api/cli/model_source.hpp"
#include "api/cli/output.hpp"
#include "core/base/error.hpp"
#include "core/base/log.hpp"

namespace nacelle::cli {

int run_command(const PullOptions& options) {
  log::configure(log::parse_level(options.log_level), log::parse_format(options.log_format));
  Json models = Json::array();
  for (const std::string& text : options.models) {
    hub::PullOptions pull = pull_options(options.model_cache);
    pull.refresh = true;
    pull.sha256 = options.sha256;
    pull.hub.retries = options.retries;
    const hub::LocalModel model = pull_with_progress(text, std::move(pull));
    if (!std::filesystem::exists(model.path))  // a path of this machine is taken as it is
      throw Error(ErrorKind::kNotFound,
                  text + ": no such file or folder; expected hf:ORG/NAME[@REVISION][:FILE], https://..., or a path");
    Json files = Json::array();
    for (const hub::LocalFile& file : model.files)
      files.push_back(
          {{"name", file.name}, {"size", file.size}, {"checksum", file.checksum}, {"fetched", file.fetched}});
    if (!options.json) std::printf("%s\n", model.path.c_str());
    models.push_back({{"source", text}, {"path", model.path.string()}, {"files", std::move(files)}});
  }
  if (options.json) print_json({{"models", std::move(models)}});
  return 0;
}

}  // namespace nacelle::cli
