// Architecture plugins under test: loaded as the host loads them, but with the smallest host that they can live with.
#pragma once

#include <dlfcn.h>
#include <nacelle/architecture.h>

#include <catch2/catch.hpp>
#include <memory>
#include <nacelle/plugin.hpp>
#include <string>

#include "sdk/conformance/requirements.hpp"
#include "sdk/runtime/graph_builder.hpp"
#include "sdk/runtime/names.hpp"

namespace nacelle::test {

// A host of errors only.
inline const nacelle_host* error_host() {
  static const nacelle_host table = [] {
    auto host = sdk::make<nacelle_host>();
    host.error_create = [](void*, nacelle_status, nacelle_string message) {
      return reinterpret_cast<nacelle_error*>(new std::string(sdk::view(message)));
    };
    return host;
  }();
  return &table;
}

// The message of an error made by error_host(), which is freed; empty for none.
inline std::string take(nacelle_error* error) {
  const std::unique_ptr<std::string> text(reinterpret_cast<std::string*>(error));
  return text ? *text : std::string();
}

// "llama" -> the table of libnacelle_arch_llama.so, loaded once and never unloaded.
inline const nacelle_architecture_api& architecture(const std::string& name) {
  const std::string path = std::string(NACELLE_TEST_PLUGINS) + "/libnacelle_arch_" + name + ".so";
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) FAIL(dlerror());
  const auto query = reinterpret_cast<nacelle_plugin_query_function>(dlsym(library, "nacelle_plugin_query"));
  auto info = sdk::make<nacelle_plugin_info>();
  nacelle_error* error = nullptr;
  REQUIRE(query(error_host(), &info, &error) == NACELLE_OK);
  REQUIRE(info.kind == NACELLE_PLUGIN_ARCHITECTURE);
  REQUIRE(sdk::view(info.name) == name);
  return *static_cast<const nacelle_architecture_api*>(info.api);
}

// What describe says, or its message.
struct Described {
  nacelle_model_description description = sdk::make<nacelle_model_description>();
  std::string error;
};

inline Described describe(const nacelle_architecture_api& api, const nacelle_model_config& config) {
  Described result;
  nacelle_error* error = nullptr;
  const nacelle_status status = api.describe(&config, &result.description, &error);
  result.error = take(error);
  CHECK((status == NACELLE_OK) == result.error.empty());
  return result;
}

// The graph, or the first thing that was wrong.
struct Built {
  std::unique_ptr<sdk::Graph> graph;
  std::string error;
};

// `states`: of bitsandbytes' matrices, where the model has such.
inline Built build(const nacelle_architecture_api& api, const nacelle_model_config& config,
                   sdk::StateLookup states = {}) {
  sdk::GraphBuilder builder(
      [&config](std::string_view name, nacelle_type* type, std::uint32_t* rank, std::int64_t* shape) {
        return config.get_tensor(config.context, sdk::view(name), type, rank, shape) == NACELLE_OK;
      },
      std::move(states));
  nacelle_error* error = nullptr;
  const nacelle_status status = api.build(&config, builder.table(), &error);
  Built result;
  result.error = take(error);
  if (builder.failed()) result.error = builder.error();
  CHECK((status == NACELLE_OK) == result.error.empty());
  if (status != NACELLE_OK) return result;
  builder.add_logits_select();
  result.graph = builder.build();
  // What an architecture of this tree emits, nacelle-conformance requires of every backend.
  for (const sdk::OpRecord& op : result.graph->record().ops) {
    INFO(sdk::op_name(op.kind));
    CHECK(conformance::is_emitted(result.graph->record(), op));
  }
  return result;
}

}  // namespace nacelle::test
