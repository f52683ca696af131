// Python's three little languages of formatting: "%s" % value, "{}".format(value) and strftime("%d %b %Y").
#pragma once

#include <cstdint>
#include <ctime>
#include <string>
#include <string_view>

#include "core/chat/value.hpp"

namespace nacelle::jinja {

// `values` is a tuple of arguments, a dict for %(name)s, or one value. Throws TemplateError on a bad format.
std::string format_percent(std::string_view format, const Value& values, Heap& heap);
std::string format_braces(std::string_view format, const Arguments& arguments, Heap& heap);
// str.center(), ljust() and rjust(): `text` padded to `width` code points, at most 100,000.
std::string centered(std::string_view text, std::int64_t width, std::string_view fill, Heap& heap);
std::string justified(std::string_view text, std::int64_t width, std::string_view fill, bool left, Heap& heap);
// The directives of the C locale, whatever the process's locale is.
std::string format_time(const std::string& format, const std::tm& time);

}  // namespace nacelle::jinja
