// An architecture plugin: its answers about test models, and its graphs run on the reference backend.
#pragma once

#include "sdk/conformance/model_file.hpp"
#include "sdk/conformance/plugin.hpp"
#include "sdk/conformance/report.hpp"
#include "sdk/conformance/session.hpp"

namespace nacelle::conformance {

// Runs every check. `models` may be empty, which fails: nothing would be proved.
void check_architecture(const Plugin& plugin, const std::vector<TestModel>& models, Backend& reference, Report& report);

}  // namespace nacelle::conformance
