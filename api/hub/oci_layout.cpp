// The image layout and manifests: https://github.com/opencontainers/image-spec (image-layout.md, manifest.md).
#include "api/hub/oci_layout.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "api/hub/download.hpp"
#include "api/hub/source.hpp"
#include "core/base/error.hpp"
#include "core/base/mapped_file.hpp"
#include "core/formats/json.hpp"
#include "core/plugin_host/sha256.hpp"

namespace nacelle::hub {
namespace {

namespace fs = std::filesystem;

constexpr JsonLimits kLimits{4u << 20, 100'000};

JsonNode read_json(const fs::path& path) {
  const MappedFile file(path);
  return parse_json(path, {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()}, 0, kLimits);
}

std::string text(const JsonNode* node, std::string_view name) {
  const JsonNode* found = node ? node->find(name) : nullptr;
  return found && found->kind == JsonNode::Kind::kString ? found->text : std::string();
}

fs::path blob(const fs::path& folder, const JsonNode& descriptor) {
  const std::string digest = text(&descriptor, "digest");
  const auto colon = digest.find(':');
  if (colon == std::string::npos || !is_safe_relative(digest.substr(0, colon)) ||
      !is_safe_relative(digest.substr(colon + 1)))
    throw Error(ErrorKind::kCorrupt, (folder / "index.json").string() + ": '" + digest + "' is no digest");
  fs::path path = fs::absolute(folder) / "blobs" / digest.substr(0, colon) / digest.substr(colon + 1);
  std::error_code code;
  const auto size = fs::file_size(path, code);
  const JsonNode* wanted = descriptor.find("size");
  if (code) throw Error(ErrorKind::kCorrupt, path.string() + ": missing, but the layout's manifest names it");
  if (wanted && wanted->kind == JsonNode::Kind::kInteger && static_cast<std::uint64_t>(wanted->integer) != size)
    throw Error(ErrorKind::kCorrupt,
                fmt::format("{}: {} bytes, the manifest says {}", path.string(), size, wanted->integer));
  return path;
}

// The first manifest, through nested indexes (one a platform).
JsonNode manifest_of(const fs::path& folder, std::string& digest) {
  fs::path path = folder / "index.json";
  for (int depth = 0; depth < 4; ++depth) {
    JsonNode node = read_json(path);
    const JsonNode* manifests = node.find("manifests");
    if (!manifests) return node;
    if (manifests->items.empty()) break;
    digest = text(&manifests->items[0], "digest");
    path = blob(folder, manifests->items[0]);
  }
  throw Error(ErrorKind::kCorrupt, (folder / "index.json").string() + ": no manifest");
}

// A layer's name in the model: its title, or one by its type.
std::string name_of(const JsonNode& layer) {
  std::string title = text(layer.find("annotations"), "org.opencontainers.image.title");
  if (!title.empty()) return title;
  return text(&layer, "mediaType").find("gguf") != std::string::npos ? "model.gguf" : "";
}

}  // namespace

bool is_oci_layout(const fs::path& folder) {
  std::error_code code;
  return fs::exists(folder / "oci-layout", code) && fs::exists(folder / "index.json", code);
}

fs::path open_oci_layout(const fs::path& folder, const fs::path& cache) try {
  std::string digest;
  const JsonNode manifest = manifest_of(folder, digest);
  const JsonNode* layers = manifest.find("layers");
  std::vector<std::string> names;
  const fs::path links =
      cache / "oci" / sha256(fs::absolute(folder).lexically_normal().string() + digest).substr(0, 32);
  for (const JsonNode& layer : layers ? layers->items : std::vector<JsonNode>()) {
    const std::string name = name_of(layer);
    if (name.empty()) continue;
    if (!is_safe_relative(name))
      throw Error(ErrorKind::kCorrupt, folder.string() + ": a layer is called '" + name + "', which leads elsewhere");
    make_link(links / name, blob(folder, layer));
    names.push_back(name);
  }
  const std::vector<std::string> files = select_files(names, "", folder.string());
  return files.front().ends_with(".gguf") ? links / files.front() : links;
} catch (const fs::filesystem_error& error) {
  throw Error(ErrorKind::kResource, fmt::format("{}: {}", error.path1().string(), error.code().message()));
}

}  // namespace nacelle::hub
