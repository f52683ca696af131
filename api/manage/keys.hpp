// API keys: a file of hashed keys, and who may call what.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/http/server.hpp"

namespace nacelle::manage {

struct Key {
  std::string name;
  std::string
      hash;  // SHA-256 of the key's text, 64 lower-case hexadecimal digits: keys are random, so no salt is needed
  bool infer = false, manage = false;
};

// Lines "NAME:ROLE[,ROLE]:HASH" with the roles infer and manage; empty lines and lines from '#' on do not count. `file`
// is for messages. Throws Error(kInvalidArgument) with the line's number.
std::vector<Key> parse_keys(std::string_view text, const std::string& file);

// A key file that is read again when it changes. The server's I/O thread only.
class KeyRing {
 public:
  // Throws Error: kNotFound, or as parse_keys does.
  explicit KeyRing(std::filesystem::path file);
  // The key whose text this is, or nullptr; compares with all of them, in a time that tells nothing of any. Looks at
  // the file's time at most once a second; a file gone bad leaves the former keys, and the log says why.
  const Key* find(std::string_view text);

 private:
  void refresh();
  std::filesystem::path file_;
  std::filesystem::file_time_type changed_;
  std::chrono::steady_clock::time_point checked_;
  std::vector<Key> keys_;
};

struct NewKey {
  std::string text, line;
};
// A random key of 256 bits, and its line for the file.
NewKey make_key(const std::string& name, const std::string& roles);

// What both listeners ask of a request. With keys: "Authorization: Bearer KEY" or "X-Api-Key: KEY", whose roles fit the
// route (manage includes infer); 401 and 403 else. Probes and metrics are open.
http::Admit admit_by_key(std::shared_ptr<KeyRing> keys);

// For a management listener without keys, which whoever can reach the loopback address may use: pages of a browser may
// not, unless they come from `cors_origin`. A page's requests carry an Origin or, where its site's name was made to
// point at this machine, a Host that is a name.
http::Admit admit_local(std::string cors_origin);

}  // namespace nacelle::manage
