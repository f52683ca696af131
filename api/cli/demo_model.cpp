#include "api/cli/demo_model.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "core/base/error.hpp"

// NACELLE_DEMO_MODEL is the file's path; the assembler copies its bytes into the read-only data.
asm(R"(
  .section .rodata
  .balign 64
nacelle_demo_begin:
  .incbin ")" NACELLE_DEMO_MODEL R"("
nacelle_demo_end:
  .byte 0
  .text
)");
extern "C" {
extern const char nacelle_demo_begin[] __attribute__((visibility("hidden")));
extern const char nacelle_demo_end[] __attribute__((visibility("hidden")));
}

namespace nacelle::cli {

DemoModelFile::DemoModelFile() : descriptor_(memfd_create(kDemoModelName, MFD_CLOEXEC)) {
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
