// What `--model` names, brought to this machine where it is not here yet; progress on standard error.
#pragma once

#include <filesystem>
#include <string>

#include "api/hub/hub.hpp"

namespace nacelle::cli {

// From the environment; `cache`, where it is not empty, instead of its folder.
hub::PullOptions pull_options(const std::filesystem::path& cache);

hub::LocalModel pull_with_progress(const std::string& text, hub::PullOptions options);

}  // namespace nacelle::cli
