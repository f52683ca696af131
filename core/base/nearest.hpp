// What a misspelled name most likely meant: settings, flags, fields of a request, tensors of a file.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace nacelle {

// Insertions, deletions and replacements of bytes that make `b` of `a` (Levenshtein). Takes a.size() * b.size() steps.
std::size_t edit_distance(std::string_view a, std::string_view b);

// The nearest of `names` by edit distance; empty where none is near (two edits, or a third of the name; something must
// be left of it). Names that differ much in length cost nothing.
std::string nearest(std::string_view name, const std::vector<std::string>& names);

// "; did you mean 'port'?", or nothing where none of `names` is near.
std::string did_you_mean(std::string_view name, const std::vector<std::string>& names);

}  // namespace nacelle
