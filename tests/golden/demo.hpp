// The demo model in an engine.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tests/shared_data.hpp"
#include "tests/support/engine_fixture.hpp"

namespace nacelle::test {

struct Demo {
  explicit Demo(LoadOptions options = {}, EngineOptions engine_options = {})
      : host(make_host()), engine(load(*host, std::move(options)), std::move(engine_options)) {}
  static std::shared_ptr<Model> load(PluginHost& host, LoadOptions options) {
    options.path = source_dir() / "models/demo/nacelle-demo-q8_0.gguf";
    options.device = "cpu";
    return Model::load(host, options);
  }
  std::vector<TokenId> chat(const std::string& question) const {
    return engine.model().tokenizer().encode("<|im_start|>user\n" + question + "<|im_end|>\n<|im_start|>assistant\n",
                                             {.add_special = false});
  }
  std::unique_ptr<PluginHost> host;
  Engine engine;
};

// Counters once all that ran is counted; nothing can be submitted any more.
inline EngineStats final_stats(Demo& demo) {
  demo.engine.drain(std::chrono::seconds(60));
  return demo.engine.stats();
}

}  // namespace nacelle::test
