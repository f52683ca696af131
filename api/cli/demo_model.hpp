// The default model, which is a part of the program.
#pragma once

#include <filesystem>

namespace nacelle::cli {

inline constexpr const char* kDemoModelName = "nacelle-demo";

// A file in memory with the model's bytes, so that loaders need not know of it. What has mapped it may outlive the
// object.
class DemoModelFile {
 public:
  // Throws Error(kResource).
  DemoModelFile();
  ~DemoModelFile();
  DemoModelFile(const DemoModelFile&) = delete;
  DemoModelFile& operator=(const DemoModelFile&) = delete;

  std::filesystem::path path() const;  // valid while the object lives

 private:
  int descriptor_;
};

}  // namespace nacelle::cli
