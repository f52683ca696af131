// What a test writes to standard error, as the log does.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace nacelle::test {

// What `body` writes there.
template <class Body>
std::string captured(Body body) {
  const auto path = std::filesystem::temp_directory_path() / ("nacelle-log-" + std::to_string(::getpid()));
  const int kept = ::dup(2), file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  ::dup2(file, 2);
  body();
  ::dup2(kept, 2);
  ::close(kept);
  ::close(file);
  std::ifstream in(path);
  std::string text(std::istreambuf_iterator<char>(in), {});
  std::filesystem::remove(path);
  return text;
}

}  // namespace nacelle::test
