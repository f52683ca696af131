#include "api/manage/keys.hpp"

#include <sys/random.h>

#include <array>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>

#include "api/http/wire.hpp"
#include "core/base/log.hpp"
#include "core/plugin_host/sha256.hpp"

namespace nacelle::manage {
namespace {

using http::ApiError;

constexpr std::size_t kHashDigits = 64;
constexpr std::size_t kMaxKeyBytes = 512;  // of what a client sends: more is no key

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const auto at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

bool set_roles(Key& key, std::string_view roles) {
  for (const std::string_view role : split(roles, ',')) {
    if (role == "infer") {
      key.infer = true;
    } else if (role == "manage") {
      key.infer = key.manage = true;
    } else {
      return false;
    }
  }
  return true;
}

// What is wrong, or "".
std::string read_line(std::string_view line, Key& key) {
  const auto parts = split(line, ':');
  if (parts.size() != 3) return "expected NAME:ROLE:HASH, as `nacelle key new NAME` prints it";
  key.name = parts[0];
  if (key.name.empty()) return "the name is empty";
  if (!set_roles(key, parts[1])) return "the role must be infer, manage or infer,manage";
  key.hash = parts[2];
  if (key.hash.size() != kHashDigits || key.hash.find_first_not_of("0123456789abcdef") != std::string::npos)
    return "the hash must be 64 lower-case hexadecimal digits";
  return {};
}

// Without an early end: the time does not tell how much was equal.
bool equal_in_constant_time(const std::string& a, const std::string& b) {
  unsigned char difference = a.size() == b.size() ? 0 : 1;
  for (std::size_t i = 0; i < kHashDigits; ++i) difference |= static_cast<unsigned char>(a[i] ^ b[i]);
  return difference == 0;
}

std::string_view key_text(const http::Request& request) {
  constexpr std::string_view kBearer = "bearer ";
  if (const std::string* value = request.header("authorization")) {
    std::string_view text = *value;
    bool bearer = text.size() > kBearer.size();
    for (std::size_t i = 0; bearer && i < kBearer.size(); ++i)
      bearer = std::tolower(static_cast<unsigned char>(text[i])) == kBearer[i];
    if (bearer) return text.substr(text.find_first_not_of(' ', kBearer.size() - 1));
  }
  const std::string* value = request.header("x-api-key");
  return value ? std::string_view(*value) : std::string_view();
}

std::string read_file(const std::filesystem::path& file) {
  std::error_code ignored;
  const bool folder = std::filesystem::is_directory(file, ignored);
  errno = 0;
  std::ifstream in(file, std::ios::binary);
  if (!in || folder) {
    const std::string reason = folder ? "is a folder, expected a file of `nacelle key new`'s lines"
                                      : std::string("cannot be read: ") + std::strerror(errno);
    throw Error(ErrorKind::kNotFound, "--api-keys " + file.string() + ": " + reason, "api-keys");
  }
  return {std::istreambuf_iterator<char>(in), {}};
}

// An address, or the one name that no site can own.
bool is_address(std::string_view host) {
  if (host == "localhost") return true;
  if (host.starts_with('[')) return true;
  return !host.empty() && host.find_first_not_of("0123456789.") == std::string_view::npos;
}

}  // namespace

std::vector<Key> parse_keys(std::string_view text, const std::string& file) {
  std::vector<Key> keys;
  std::size_t number = 0;
  for (std::string_view line : split(text, '\n')) {
    ++number;
    line = line.substr(0, line.find('#'));
    const auto end = line.find_last_not_of(" \t\r");
    line = line.substr(0, end == std::string_view::npos ? 0 : end + 1);
    if (line.empty()) continue;
    Key key;
    std::string fault = read_line(line, key);
    for (const Key& other : keys)
      if (other.name == key.name) fault = "there are two keys called '" + key.name + "'";
    if (!fault.empty())
      throw Error(ErrorKind::kInvalidArgument, file + ":" + std::to_string(number) + ": " + fault, "api-keys");
    keys.push_back(std::move(key));
  }
  return keys;
}

KeyRing::KeyRing(std::filesystem::path file)
    : file_(std::move(file)), keys_(parse_keys(read_file(file_), file_.string())) {
  std::error_code ignored;
  changed_ = std::filesystem::last_write_time(file_, ignored);
  if (keys_.empty())
    log::warning("API keys: {} has none yet, so every request gets 401; `nacelle key new NAME` makes one",
                 file_.string());
}

void KeyRing::refresh() {
  const auto now = std::chrono::steady_clock::now();
  if (now - checked_ < std::chrono::seconds(1)) return;
  checked_ = now;
  std::error_code error;
  const auto changed = std::filesystem::last_write_time(file_, error);
  if (error || changed == changed_) return;
  changed_ = changed;
  try {
    keys_ = parse_keys(read_file(file_), file_.string());
    log::info("API keys: {} keys were read again", keys_.size());
  } catch (const Error& failure) {
    log::error("API keys: {}; the former keys stay valid", failure.what());
  }
}

const Key* KeyRing::find(std::string_view text) {
  refresh();
  if (text.empty() || text.size() > kMaxKeyBytes) return nullptr;
  const std::string hash = sha256(text);
  const Key* found = nullptr;
  for (const Key& key : keys_)
    if (equal_in_constant_time(key.hash, hash)) found = &key;
  return found;
}

NewKey make_key(const std::string& name, const std::string& roles) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::array<unsigned char, 43> random{};  // 6 bits of each are used: 258
  if (getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size()))
    throw Error(ErrorKind::kInternal, "the system gives no random bytes");
  NewKey key;
  key.text = "nk-";
  for (const unsigned char byte : random) key.text += kDigits[byte & 63];
  key.line = name + ":" + roles + ":" + sha256(key.text);
  parse_keys(key.line, "the new key");  // refuses a bad name or role
  return key;
}

http::Admit admit_by_key(std::shared_ptr<KeyRing> keys) {
  return [keys = std::move(keys)](http::Request& request, const http::Route& route) -> std::optional<ApiError> {
    if (route.access == http::Access::kOpen) return std::nullopt;
    const std::string_view text = key_text(request);
    if (text.empty()) {
      return ApiError{401, "no API key; send it as 'Authorization: Bearer KEY' or 'X-Api-Key: KEY'", "",
                      "missing_api_key"};
    }
    const Key* key = keys->find(text);
    if (!key) return ApiError{401, "the API key is not valid", "", "invalid_api_key"};
    request.client = key->name;
    const bool may = route.access == http::Access::kManage ? key->manage : key->infer;
    if (may) return std::nullopt;
    return ApiError{
        403, "the API key '" + key->name + "' lacks the role that " + route.method + " " + route.pattern + " asks for",
        "", "insufficient_permissions"};
  };
}

http::Admit admit_local(std::string cors_origin) {
  return [cors = std::move(cors_origin)](http::Request& request, const http::Route&) -> std::optional<ApiError> {
    const std::string* host = request.header("host");
    if (host && !is_address(http::host_of(*host))) {
      return ApiError{403,
                      "the management listener answers to an address or localhost, not to '" + *host +
                          "'; with --api-keys it answers to any name",
                      "", "wrong_host"};
    }
    const std::string* origin = request.header("origin");
    const auto scheme = origin ? origin->find("://") : std::string::npos;
    const bool same = scheme != std::string::npos && host && origin->substr(scheme + 3) == *host;
    if (!origin || same || (!cors.empty() && (cors == "*" || cors == *origin))) return std::nullopt;
    return ApiError{403, "pages of " + *origin + " may not call the management listener; --cors-origin allows one site",
                    "", "wrong_origin"};
  };
}

}  // namespace nacelle::manage
