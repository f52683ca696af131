#include "api/hub/hub.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <fstream>
#include <optional>

#include "api/http/client.hpp"
#include "api/hub/download.hpp"
#include "api/hub/oci_layout.hpp"
#include "core/base/atomic_file.hpp"
#include "core/base/error.hpp"
#include "core/base/log.hpp"
#include "core/formats/json.hpp"
#include "core/plugin_host/sha256.hpp"

namespace nacelle::hub {
namespace {

namespace fs = std::filesystem;

constexpr JsonLimits kListLimits{16u << 20, 200'000};

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

bool is_hex(std::string_view text, std::size_t size) {
  return text.size() == size &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

// What may stand in a path of a URL; '/' stays.
std::string encode(std::string_view text) {
  std::string result;
  for (const unsigned char c : text) {
    const bool plain = std::isalnum(c) || c == '-' || c == '_' || c == '.' || c == '~' || c == '/';
    result += plain ? std::string(1, static_cast<char>(c)) : fmt::format("%{:02X}", c);
  }
  return result;
}

// A repository's folder in the cache.
struct Repository {
  fs::path folder;

  Repository(const HubSettings& hub, std::string name) {
    for (auto at = name.find('/'); at != std::string::npos; at = name.find('/')) name.replace(at, 1, "--");
    folder = hub.cache / ("models--" + name);
  }
  fs::path blob(const std::string& etag) const { return folder / "blobs" / etag; }
  fs::path snapshot(const std::string& commit) const { return folder / "snapshots" / commit; }
  fs::path ref(const std::string& revision) const { return folder / "refs" / revision; }
};

LocalModel local_model(const Source& source, const fs::path& folder, std::vector<LocalFile> files) {
  LocalModel model;
  const std::string& first = files.front().name;
  if (first.ends_with(".gguf")) {
    model.path = folder / first;
  } else {
    model.path = folder;
    model.name = source.repository.substr(source.repository.find('/') + 1);
  }
  model.files = std::move(files);
  return model;
}

// The commit that the cache has under this revision; empty: none.
std::string cached_commit(const Repository& repository, const std::string& revision) {
  if (is_hex(revision, 40)) return fs::exists(repository.snapshot(revision)) ? revision : "";
  std::ifstream file(repository.ref(revision));
  std::string commit;
  file >> commit;
  return is_hex(commit, 40) ? commit : "";
}

std::vector<std::string> names_below(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code code;
  for (fs::recursive_directory_iterator entry(folder, code), end; !code && entry != end; entry.increment(code))
    if (!entry->is_directory() && fs::exists(entry->path()))
      names.push_back(entry->path().lexically_relative(folder).string());
  std::sort(names.begin(), names.end());
  return names;
}

// Whether all weights are there that the index of a folder in several files names.
bool is_whole(const fs::path& folder, const std::vector<std::string>& names) {
  std::ifstream file(folder / "model.safetensors.index.json");
  if (!file) return true;
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  const JsonNode index = parse_json(folder / "model.safetensors.index.json", text, 0, kListLimits);
  const JsonNode* map = index.find("weight_map");
  return map && std::all_of(map->items.begin(), map->items.end(), [&](const JsonNode& tensor) {
           return std::find(names.begin(), names.end(), tensor.text) != names.end();
         });
}

std::optional<LocalModel> from_cache(const Source& source, const HubSettings& hub, const std::string& spoken) {
  const Repository repository(hub, source.repository);
  const std::string commit = cached_commit(repository, source.revision);
  if (commit.empty()) return std::nullopt;
  const fs::path folder = repository.snapshot(commit);
  try {
    const std::vector<std::string> names = names_below(folder);
    std::vector<LocalFile> files;
    for (const std::string& name : select_files(names, source.wanted, spoken)) {
      const fs::path path = folder / name;
      files.push_back({name, path, fs::file_size(path), "", false});
    }
    if (!files.front().name.ends_with(".gguf") && !is_whole(folder, names)) return std::nullopt;
    return local_model(source, folder, std::move(files));
  } catch (const Error&) {
    return std::nullopt;  // other files of the repository were wanted before
  }
}

struct Listing {
  std::string commit;
  std::vector<std::string> names;
};

http::ClientRequest request_to(const HubSettings& hub, const std::string& path, const char* method) {
  http::ClientRequest request;
  request.method = method;
  request.url = http::Url::parse(hub.endpoint + path);
  request.proxy = http::proxy_from_environment(request.url);
  request.headers = {{"User-Agent", "nacelle"}, {"Accept-Encoding", "identity"}};
  if (!hub.token.empty()) request.headers.emplace_back("Authorization", "Bearer " + hub.token);
  return request;
}

// Follows redirects inside the hub (a repository that has moved), but not to where bytes lie.
http::ClientResponse ask(http::ClientRequest request, std::string* body) {
  const std::string home = request.url.origin();
  for (int i = 0;; ++i) {
    http::ClientResponse response;
    if (body) {
      std::tie(response, *body) = http::fetch_text(request);
    } else {
      response = http::fetch(request, [](const http::ClientResponse&) { return http::BodySink(); });
    }
    const std::string* location = response.header("location");
    if (response.status / 100 != 3 || !location || response.header("x-linked-etag") || i == 4) return response;
    http::Url next = request.url.resolve(*location);
    if (next.origin() != home) return response;
    request.url = std::move(next);
  }
}

Listing list(const Source& source, const HubSettings& hub) {
  std::string body;
  const std::string path = fmt::format("/api/models/{}/revision/{}", source.repository, encode(source.revision));
  const http::ClientRequest request = request_to(hub, path, "GET");
  const http::ClientResponse response = ask(request, &body);
  if (response.status != 200)
    fail_status(source.repository + "@" + source.revision, request.url.origin(), response.status);
  const JsonNode root = parse_json(hub.endpoint + path, body, 0, kListLimits);
  Listing listing;
  const JsonNode *sha = root.find("sha"), *siblings = root.find("siblings");
  if (sha) listing.commit = sha->text;
  for (const JsonNode& file : siblings ? siblings->items : std::vector<JsonNode>())
    if (const JsonNode* name = file.find("rfilename"); name && is_safe_relative(name->text))
      listing.names.push_back(name->text);
  if (!is_hex(listing.commit, 40))
    throw Error(ErrorKind::kCorrupt, hub.endpoint + path + ": no commit in its answer; is this a hub of models?");
  std::sort(listing.names.begin(), listing.names.end());
  return listing;
}

struct Remote {
  std::string path, etag;
  std::uint64_t size = 0;
};

Remote describe(const Source& source, const HubSettings& hub, const std::string& commit, const std::string& name) {
  Remote remote{fmt::format("/{}/resolve/{}/{}", source.repository, commit, encode(name)), "", 0};
  const http::ClientRequest request = request_to(hub, remote.path, "HEAD");
  const http::ClientResponse response = ask(request, nullptr);
  if (response.status >= 400) fail_status(name, request.url.origin(), response.status);
  const auto header = [&](const char* linked, const char* plain) {
    const std::string* value = response.header(linked);
    return value ? value : response.header(plain);
  };
  if (const std::string* etag = header("x-linked-etag", "etag")) {
    for (const char c : etag->starts_with("W/") ? etag->substr(2) : *etag)
      if (c != '"') remote.etag += c;
  }
  if (const std::string* size = header("x-linked-size", "content-length"))
    remote.size = std::strtoull(size->c_str(), nullptr, 10);
  if (!is_safe_relative(remote.etag) || remote.etag.find('/') != std::string::npos)
    throw Error(ErrorKind::kCorrupt, hub.endpoint + remote.path + ": no ETag in its answer; is this a hub of models?");
  return remote;
}

void write_text(const fs::path& path, const std::string& text) {
  AtomicFile file(path);
  file.write(0, std::as_bytes(std::span(text)));
  file.commit();
}

LocalFile fetch_file(const Source& source, const PullOptions& options, const Listing& listing,
                     const std::string& name) {
  const HubSettings& hub = options.hub;
  const Repository repository(hub, source.repository);
  const Remote remote = describe(source, hub, listing.commit, name);
  Download file;
  file.name = name;
  file.url = hub.endpoint + remote.path;
  file.token = hub.token;
  file.target = repository.blob(remote.etag);
  file.size = remote.size;
  if (is_hex(remote.etag, 64)) file.sha256 = remote.etag;
  if (is_hex(remote.etag, 40)) file.git_sha1 = remote.etag;
  file.retries = hub.retries;
  if (options.progress) {
    options.progress(name, 0, 0);
    file.progress = [&](std::uint64_t done, std::uint64_t total) { options.progress(name, done, total); };
  }
  const bool fetched = download(file);
  const fs::path path = repository.snapshot(listing.commit) / name;
  make_link(path, fs::relative(file.target, path.parent_path()));  // relative, so that the cache may be moved
  const std::string checksum = !file.sha256.empty()     ? "sha256:" + file.sha256
                               : !file.git_sha1.empty() ? "git-sha1:" + file.git_sha1
                                                        : "";
  return {name, path, fs::file_size(path), checksum, fetched};
}

void need_cache(const HubSettings& hub) {
  if (hub.cache.empty())
    throw Error(ErrorKind::kInvalidArgument,
                "there is no folder to keep models in: give --model-cache, or set HF_HOME or HOME", "model-cache");
}

LocalModel pull_hub(const Source& source, const PullOptions& options) {
  need_cache(options.hub);
  const std::string spoken = "hf:" + source.repository + (source.revision == "main" ? "" : "@" + source.revision) +
                             (source.wanted.empty() ? "" : ":" + source.wanted);
  std::optional<LocalModel> cached = from_cache(source, options.hub, spoken);
  if (cached && (!options.refresh || options.hub.offline)) return *cached;
  if (options.hub.offline)
    throw Error(ErrorKind::kNotFound, fmt::format("{}: not in {}, and HF_HUB_OFFLINE forbids to fetch it", spoken,
                                                  options.hub.cache.string()));
  Listing listing;
  try {
    listing = list(source, options.hub);
  } catch (const Error& error) {
    if (!cached || error.kind() != ErrorKind::kUnavailable) throw;
    log::warning("{}; {} is taken as it lies in the cache", error.what(), spoken);
    return *cached;
  }
  std::vector<LocalFile> files;
  for (const std::string& name : select_files(listing.names, source.wanted, spoken))
    files.push_back(fetch_file(source, options, listing, name));
  const Repository repository(options.hub, source.repository);
  if (!is_hex(source.revision, 40)) write_text(repository.ref(source.revision), listing.commit);
  return local_model(source, repository.snapshot(listing.commit), std::move(files));
}

LocalModel pull_url(const Source& source, const PullOptions& options) {
  need_cache(options.hub);
  const http::Url url = http::Url::parse(source.url);
  const std::string path = url.target.substr(0, url.target.find('?'));
  const std::string name = path.substr(path.rfind('/') + 1);
  if (!is_safe_relative(name))
    throw Error(ErrorKind::kInvalidArgument, "'" + source.url + "' ends with no file's name", "model");
  Download file;
  file.name = name;
  file.url = source.url;
  file.sha256 = options.sha256;
  file.target = options.hub.cache / "urls" / sha256(source.url).substr(0, 32) / name;
  file.retries = options.hub.retries;
  if (options.progress) {
    options.progress(name, 0, 0);
    file.progress = [&](std::uint64_t done, std::uint64_t total) { options.progress(name, done, total); };
  }
  if (options.hub.offline && !fs::exists(file.target))
    throw Error(ErrorKind::kNotFound, source.url + ": not in the cache, and HF_HUB_OFFLINE forbids to fetch it");
  if (!file.sha256.empty() && fs::exists(file.target) && sha256_of_file(file.target) != file.sha256)
    fs::remove(file.target);  // what the URL gave before is not wanted any more
  const bool fetched = download(file);
  const std::string checksum = file.sha256.empty() ? "" : "sha256:" + file.sha256;
  return {file.target, "", {{name, file.target, fs::file_size(file.target), checksum, fetched}}};
}

}  // namespace

HubSettings HubSettings::from_environment() {
  HubSettings hub;
  if (const std::string folder = variable("HF_HUB_CACHE"); !folder.empty()) {
    hub.cache = folder;
  } else if (const std::string home = variable("HF_HOME"); !home.empty()) {
    hub.cache = fs::path(home) / "hub";
  } else if (const std::string cache = variable("XDG_CACHE_HOME"); cache.starts_with('/')) {
    hub.cache = fs::path(cache) / "huggingface/hub";
  } else if (const std::string user = variable("HOME"); user.starts_with('/')) {
    hub.cache = fs::path(user) / ".cache/huggingface/hub";
  }
  hub.endpoint = variable("HF_ENDPOINT");
  if (hub.endpoint.empty()) hub.endpoint = "https://huggingface.co";
  while (hub.endpoint.ends_with('/')) hub.endpoint.pop_back();
  hub.token = variable("HF_TOKEN");
  std::erase_if(hub.token, [](unsigned char c) { return std::isspace(c); });  // a secret's file ends with a line feed
  const std::string offline = variable("HF_HUB_OFFLINE");
  hub.offline = offline == "1" || offline == "true" || offline == "TRUE" || offline == "ON" || offline == "YES";
  return hub;
}

LocalModel pull(const Source& source, const PullOptions& options) {
  switch (source.kind) {
    case Source::Kind::kHub: return pull_hub(source, options);
    case Source::Kind::kUrl: return pull_url(source, options);
    case Source::Kind::kPath: break;
  }
  const fs::path path = source.path;
  if (!is_oci_layout(path)) return {path, "", {}};
  need_cache(options.hub);
  return {open_oci_layout(path, options.hub.cache), "", {}};
}

}  // namespace nacelle::hub
