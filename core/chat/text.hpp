// Code points of UTF-8 text: counting, cutting, classes and case, as Python's str does them. A byte that is not part of
// valid UTF-8 counts as one code point, so that nothing here can fail.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace nacelle::jinja {

// Bytes of the code point that starts at `pos` (pos < text.size()).
std::size_t code_point_size(std::string_view text, std::size_t pos);
// Its number; an invalid byte gives U+FFFD.
char32_t code_point_at(std::string_view text, std::size_t pos);
void append_utf8(std::string& out, char32_t code_point);
std::size_t code_point_count(std::string_view text);
// Byte offset of code point number `index`, or text.size() where there are fewer.
std::size_t byte_offset(std::string_view text, std::size_t index);
std::vector<std::string_view> code_points(std::string_view text);

bool is_space(char32_t c);
bool is_digit(char32_t c);
bool is_alpha(char32_t c);
bool is_upper(char32_t c);
bool is_lower(char32_t c);
bool is_printable(char32_t c);

// str.isupper() or islower(): at least one cased character, and none of the other case.
bool has_case(std::string_view text, bool upper);

enum class Case { kUpper, kLower, kTitle, kCapitalize };
std::string change_case(std::string_view text, Case how);

// Strips white space, or the code points of `chars` where it is given.
enum class Side { kBoth, kLeft, kRight };
std::string_view strip(std::string_view text, Side side, const std::string* chars = nullptr);

// Byte offset of `needle` at or after `from`, or npos. Linear in the length of `text` whatever the needle.
std::size_t find(std::string_view text, std::string_view needle, std::size_t from = 0);
// `limit` below 0 replaces all.
std::string replace(std::string_view text, std::string_view from, std::string_view to, std::int64_t limit,
                    std::size_t max_bytes);
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends = false);

}  // namespace nacelle::jinja
