#include "api/hub/source.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <map>
#include <set>

#include "core/base/error.hpp"

namespace nacelle::hub {
namespace {

constexpr std::string_view kGguf = ".gguf";
constexpr std::size_t kSplitSuffix = std::string_view("-00001-of-00002").size();
constexpr std::string_view kFirstPart = "-00001-of-";

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= 96 && text[0] != '.' && text[0] != '-' &&
         std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.'; });
}

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

// "m-00002-of-00003.gguf" -> 3 parts; 0: no split.
unsigned long split_count(const std::string& name) {
  if (!name.ends_with(kGguf) || name.size() < kGguf.size() + kSplitSuffix) return 0;
  const std::string suffix = name.substr(name.size() - kGguf.size() - kSplitSuffix, kSplitSuffix);
  const bool digits =
      std::all_of(suffix.begin() + 1, suffix.begin() + 6, [](char c) { return c >= '0' && c <= '9'; }) &&
      std::all_of(suffix.begin() + 10, suffix.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (suffix[0] != '-' || suffix.substr(6, 4) != "-of-" || !digits) return 0;
  return std::strtoul(suffix.c_str() + 10, nullptr, 10);
}

// What is in a folder of Hugging Face's layout that the loader reads: weights once, and small files of settings.
std::vector<std::string> folder_files(const std::vector<std::string>& names) {
  static const std::set<std::string> kOthers = {"tokenizer.model", "merges.txt", "vocab.txt", "chat_template.jinja",
                                                "additional_chat_templates/tool_use.jinja"};
  const auto is_sharded = [](const std::string& name) { return name.starts_with("model"); };
  const bool standard = std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    return is_sharded(name) && name.ends_with(".safetensors");
  });
  std::vector<std::string> files;
  for (const std::string& name : names) {
    const bool top = name.find('/') == std::string::npos;
    const bool weights = name.ends_with(".safetensors") && (!standard || is_sharded(name));
    if ((top && (weights || name.ends_with(".json"))) || kOthers.contains(name)) files.push_back(name);
  }
  return files;
}

std::string join(const std::vector<std::string>& names) {
  constexpr std::size_t kMost = 12;
  std::string text;
  for (std::size_t i = 0; i < names.size() && i < kMost; ++i) text += (i ? ", " : "") + names[i];
  return names.size() > kMost ? text + ", ..." : text;
}

// Of each split its first part stands for all.
std::vector<std::string> gguf_models(const std::vector<std::string>& names) {
  std::vector<std::string> models;
  for (const std::string& name : names) {
    if (!lower(name).ends_with(kGguf)) continue;
    const std::size_t stem = name.size() - std::min(name.size(), kGguf.size() + kSplitSuffix);
    if (split_count(name) == 0 || name.compare(stem, kFirstPart.size(), kFirstPart) == 0) models.push_back(name);
  }
  return models;
}

// All that have the text in their names; those where it is the whole last part ("-Q4_K.gguf") before "-Q4_K_M.gguf".
std::vector<std::string> matches(const std::vector<std::string>& models, const std::string& wanted) {
  const std::string text = lower(wanted);
  std::vector<std::string> some, whole;
  for (const std::string& model : models) {
    std::string name = lower(model);
    if (name.find(text) == std::string::npos) continue;
    some.push_back(model);
    name.resize(name.size() - kGguf.size() - (split_count(model) ? kSplitSuffix : 0));
    if (name == text || name.ends_with("-" + text) || name.ends_with("." + text) || name.ends_with("/" + text))
      whole.push_back(model);
  }
  return whole.empty() ? some : whole;
}

}  // namespace

bool is_safe_relative(std::string_view name) noexcept {
  if (name.empty() || name.size() > 1024 || name[0] == '/' || name.find('\\') != std::string_view::npos) return false;
  for (std::size_t start = 0; start <= name.size();) {
    const auto end = std::min(name.find('/', start), name.size());
    const std::string_view part = name.substr(start, end - start);
    if (part.empty() || part == "." || part == "..") return false;
    start = end + 1;
  }
  return std::none_of(name.begin(), name.end(), [](unsigned char c) { return c < ' ' || c == 127; });
}

Source Source::parse(std::string_view text) {
  Source source;
  const auto bad = [&](const std::string& what) {
    return Error(ErrorKind::kInvalidArgument,
                 fmt::format("'{}': {}; expected hf:ORG/NAME[@REVISION][:FILE]", text, what), "model");
  };
  if (text.starts_with("http://") || text.starts_with("https://")) {
    source.kind = Kind::kUrl;
    source.url = std::string(text);
    return source;
  }
  if (text.starts_with("file:")) {
    text.remove_prefix(5);
    if (text.starts_with("//")) text.remove_prefix(2);  // file:///models/x.gguf
  } else if (text.starts_with("hf:")) {
    source.kind = Kind::kHub;
    std::string_view rest = text.substr(3);
    if (const auto colon = rest.find(':'); colon != std::string_view::npos) {
      source.wanted = std::string(rest.substr(colon + 1));
      rest = rest.substr(0, colon);
      if (!is_safe_relative(source.wanted)) throw bad("no file behind the ':'");
    }
    source.revision = "main";
    if (const auto at = rest.find('@'); at != std::string_view::npos) {
      source.revision = std::string(rest.substr(at + 1));
      rest = rest.substr(0, at);
      if (!is_safe_relative(source.revision)) throw bad("no revision behind the '@'");
    }
    const auto slash = rest.find('/');
    if (slash == std::string_view::npos || !is_name(rest.substr(0, slash)) || !is_name(rest.substr(slash + 1)))
      throw bad("no repository");
    source.repository = std::string(rest);
    return source;
  }
  source.path = std::string(text);
  return source;
}

std::vector<std::string> split_parts(const std::string& name) {
  const unsigned long count = split_count(name);
  if (count == 0) return {name};
  const std::string stem = name.substr(0, name.size() - kGguf.size() - kSplitSuffix);
  std::vector<std::string> parts;
  for (unsigned long i = 1; i <= count; ++i) parts.push_back(fmt::format("{}-{:05}-of-{:05}.gguf", stem, i, count));
  return parts;
}

std::vector<std::string> select_files(const std::vector<std::string>& names, const std::string& wanted,
                                      const std::string& source) {
  const auto has = [&](const std::string& name) { return std::find(names.begin(), names.end(), name) != names.end(); };
  const auto whole = [&](const std::string& name) {
    std::vector<std::string> parts = split_parts(name);
    for (const std::string& part : parts)
      if (!has(part)) throw Error(ErrorKind::kNotFound, fmt::format("{}: {} is not there", source, part));
    return parts;
  };
  const std::vector<std::string> models = gguf_models(names);
  if (wanted.empty()) {
    const bool folder = has("config.json") && std::any_of(names.begin(), names.end(), [](const std::string& name) {
                          return name.ends_with(".safetensors") && name.find('/') == std::string::npos;
                        });
    if (folder) return folder_files(names);
    if (models.size() == 1) return whole(models[0]);
    if (models.empty())
      throw Error(
          ErrorKind::kNotFound,
          fmt::format("{}: no model that can be read: expected *.gguf, or config.json with *.safetensors", source));
    throw Error(ErrorKind::kNotFound,
                fmt::format("{}: several models; name one as in {}:FILE, of {}", source, source, join(models)));
  }
  if (has(wanted)) return whole(wanted);
  const std::vector<std::string> found = matches(models, wanted);
  if (found.size() == 1) return whole(found[0]);
  throw Error(ErrorKind::kNotFound, fmt::format("{}: {} of its files are called so; there are {}", source,
                                                found.empty() ? std::string("none") : std::to_string(found.size()),
                                                join(found.empty() ? names : found)));
}

}  // namespace nacelle::hub
