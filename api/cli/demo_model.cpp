#include "api/cli/demo_model.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "core/base/error.hpp"
#include "sdk/runtime/embedded_file.hpp"

NACELLE_EMBED_FILE(nacelle_demo, NACELLE_DEMO_MODEL);

namespace nacelle::cli {

DemoModelFile::DemoModelFile() : descriptor_(memfd_create("the built-in demo model", MFD_CLOEXEC)) {
  const char* from = nacelle_demo_begin;
  while (descriptor_ >= 0 && from < nacelle_demo_end) {
    const ssize_t size = write(descriptor_, from, static_cast<std::size_t>(nacelle_demo_end - from));
    if (size < 0 && errno != EINTR) break;
    if (size > 0) from += size;
  }
  if (from == nacelle_demo_end) return;
  const std::string reason = std::strerror(errno);
  if (descriptor_ >= 0) close(descriptor_);
  throw Error(ErrorKind::kResource, "cannot hold the demo model in memory: " + reason);
}

DemoModelFile::~DemoModelFile() { close(descriptor_); }

std::filesystem::path DemoModelFile::path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

}  // namespace nacelle::cli
