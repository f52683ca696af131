// Where a model comes from, as `--model` and `nacelle pull` name it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace nacelle::hub {

struct Source {
  enum class Kind { kPath, kHub, kUrl };
  Kind kind = Kind::kPath;
  std::string path;  // kPath
  std::string repository, revision,
      wanted;       // kHub: "org/name", "main", a file's name or a part of it; empty: the model
  std::string url;  // kUrl

  // hf:ORG/NAME[@REVISION][:FILE], http(s)://..., file:PATH, or a path. Throws Error(kInvalidArgument).
  static Source parse(std::string_view text);
};

// Which of a repository's files make the model that `wanted` names: all of a Hugging Face folder; one GGUF file, or all
// parts of one that is split. `wanted` is a file's name or what only one GGUF file has in its name ("Q4_K_M", case does
// not count); empty: the one model there is. Throws Error(kNotFound) that lists what there is, where that is none or
// several; `source` is what the user wrote.
std::vector<std::string> select_files(const std::vector<std::string>& names, const std::string& wanted,
                                      const std::string& source);

// The parts of "m-00001-of-00003.gguf", in order; the name itself where it is no split.
std::vector<std::string> split_parts(const std::string& name);

// A path below a folder, without "..", that we may write to.
bool is_safe_relative(std::string_view name) noexcept;

}  // namespace nacelle::hub
