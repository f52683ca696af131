// The files of the web page, inside the program.
#pragma once

#include <string_view>
#include <vector>

namespace nacelle::ui {

struct File {
  std::string_view name, type, text;  // type: the media type, with its charset
};

const std::vector<File>& files();

}  // namespace nacelle::ui
