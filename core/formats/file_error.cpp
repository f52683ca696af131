// Messages about damaged files.
#include "core/formats/file_error.hpp"

namespace nacelle {

void fail_at(const std::filesystem::path& path, std::string_view field, std::uint64_t offset, std::string_view what,
             ErrorKind kind) {
  std::string message = path.string();
  message.append(": ").append(field).append(" at byte ").append(std::to_string(offset)).append(": ").append(what);
  throw Error(kind, message);
}

std::string printable(std::string_view text, std::size_t limit) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (const char c : text.substr(0, limit)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f) {
      out += c;
    } else {
      out.append("\\x").append({kHex[byte >> 4], kHex[byte & 15]});
    }
  }
  return text.size() > limit ? out + "..." : out;
}

std::string in_quotes(std::string_view text) { return "'" + printable(text) + "'"; }

}  // namespace nacelle
