// key: makes API keys.
#include <cstdio>

#include "api/cli/commands.hpp"
#include "api/cli/output.hpp"
#include "api/manage/keys.hpp"

namespace nacelle::cli {

int run_command(const KeyOptions& options) {
  const manage::NewKey key = manage::make_key(options.name, options.roles);
  if (options.json) {
    print_json({{"key", key.text}, {"line", key.line}});
    return 0;
  }
  std::printf("key for the client, shown this once: %s\nline for the file of --api-keys:     %s\n", key.text.c_str(),
              key.line.c_str());
  return 0;
}

}  // namespace nacelle::cli
