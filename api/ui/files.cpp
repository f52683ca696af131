// The texts of the page's files, apart from their reader: a source that names files is compiled alone.
#include "api/ui/files.hpp"

#include <cstddef>

#include "sdk/runtime/embedded_file.hpp"

// The files, in one table: name in C++, name on the server, media type.
#define NACELLE_UI_FILES(X)                          \
  X(chat_html, "chat.html", "text/html")             \
  X(operate_html, "operate.html", "text/html")       \
  X(icon_svg, "icon.svg", "image/svg+xml")           \
  X(base_css, "base.css", "text/css")                \
  X(chat_css, "chat.css", "text/css")                \
  X(operate_css, "operate.css", "text/css")          \
  X(theme_js, "theme.js", "text/javascript")         \
  X(dom_js, "dom.js", "text/javascript")             \
  X(server_js, "server.js", "text/javascript")       \
  X(shell_js, "shell.js", "text/javascript")         \
  X(chat_js, "chat.js", "text/javascript")           \
  X(turns_js, "turns.js", "text/javascript")         \
  X(answer_js, "answer.js", "text/javascript")       \
  X(tokens_js, "tokens.js", "text/javascript")       \
  X(markdown_js, "markdown.js", "text/javascript")   \
  X(settings_js, "settings.js", "text/javascript")   \
  X(operate_js, "operate.js", "text/javascript")     \
  X(models_js, "models.js", "text/javascript")       \
  X(inventory_js, "inventory.js", "text/javascript") \
  X(load_js, "load.js", "text/javascript")           \
  X(metrics_js, "metrics.js", "text/javascript")     \
  X(chart_js, "chart.js", "text/javascript")

#define NACELLE_UI_EMBED(name, file, type) NACELLE_EMBED_FILE(nacelle_ui_##name, NACELLE_UI "/" file);
NACELLE_UI_FILES(NACELLE_UI_EMBED)

namespace nacelle::ui {

const std::vector<File>& files() {
#define NACELLE_UI_ROW(name, file, type) \
  File{file,                             \
       type "; charset=utf-8",           \
       {nacelle_ui_##name##_begin, static_cast<std::size_t>(nacelle_ui_##name##_end - nacelle_ui_##name##_begin)}},
  static const std::vector<File> all = {NACELLE_UI_FILES(NACELLE_UI_ROW)};
  return all;
}

}  // namespace nacelle::ui
