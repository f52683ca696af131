// One file over HTTP into the cache: taken up where an earlier try ended, checked before it gets its name.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

namespace nacelle::hub {

struct Download {
  std::string name;              // for messages
  std::string url, token;        // token: sent to the URL's own host alone
  std::filesystem::path target;  // NAME.incomplete beside it is what an earlier try left
  std::uint64_t size = 0;        // 0: not known
  std::string sha256, git_sha1;  // what it must have; empty: not known
  unsigned retries = 5;          // in a row without a byte more
  std::function<void(std::uint64_t done, std::uint64_t total)> progress;
};

// Several processes may want one file: one loads, the others wait for it. True where this call fetched it, false where
// it was there. Throws Error: kUnavailable once the retries are used up (what came is kept), kCorrupt for a wrong
// checksum (what came is removed), kNotFound, kInvalidArgument for 401 and 403.
bool download(const Download& file);

// A symbolic link at `place`, with its folders, unless it already leads to a file. Throws Error(kResource).
void make_link(const std::filesystem::path& place, const std::filesystem::path& target);

// Throws what a hub's answer other than 200 means.
[[noreturn]] void fail_status(const std::string& what, const std::string& origin, unsigned status);

}  // namespace nacelle::hub
