// Patterns from the RFCs that JSON Schema names. Leap seconds are left out: whether one is due depends on the offset.
#include "core/constrain/formats.hpp"

#include <map>
#include <mutex>

#include "core/constrain/regex.hpp"

namespace nacelle::constrain {
namespace {

struct Format {
  std::string_view name;
  std::string pattern;
};

std::string date() {
  return "([0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-"
         "8]"
         "))|([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29)";
}
std::string time() {
  return "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]+)?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])";
}
std::string duration() {
  const std::string second = "[0-9]+S", minute = "[0-9]+M(" + second + ")?", hour = "[0-9]+H(" + minute + ")?";
  const std::string clock = "T(" + hour + "|" + minute + "|" + second + ")";
  const std::string day = "[0-9]+D", month = "[0-9]+M(" + day + ")?", year = "[0-9]+Y(" + month + ")?";
  return "P((" + day + "|" + month + "|" + year + ")(" + clock + ")?|" + clock + "|[0-9]+W)";
}
std::string octet() { return "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"; }
std::string ipv4() { return octet() + "(\\." + octet() + "){3}"; }
std::string ipv6() {
  const std::string h = "[0-9A-Fa-f]{1,4}", last = "(" + h + ":" + h + "|" + ipv4() + ")";
  const auto up_to = [&](int count) { return "((" + h + ":){0," + std::to_string(count) + "}" + h + ")?"; };
  std::string all = "(" + h + ":){6}" + last + "|::(" + h + ":){5}" + last + "|(" + h + ")?::(" + h + ":){4}" + last;
  for (int i = 1; i <= 3; ++i) all += "|" + up_to(i) + "::(" + h + ":){" + std::to_string(4 - i) + "}" + last;
  return all + "|" + up_to(4) + "::" + last + "|" + up_to(5) + "::" + h + "|" + up_to(6) + "::";
}
// Labels of up to 63 letters, digits and inner hyphens; RFC 1123. "xn--" names need IDNA's tables and are left out.
std::string label() { return "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"; }
std::string hostname() { return label() + "(\\." + label() + ")*"; }
std::string email() {
  const std::string atom = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+";
  const std::string quoted = "\"([ !#-\\[\\]-~]|\\\\[ -~])*\"";
  const std::string literal = "\\[(" + ipv4() + "|IPv6:(" + ipv6() + "))\\]";
  return "(" + atom + "(\\." + atom + ")*|" + quoted + ")@(" + hostname() + "|" + literal + ")";
}

// RFC 3986, appendix A.
std::string authority() {
  const std::string plain = "A-Za-z0-9._~!$&'()*+,;=-", percent = "%[0-9A-Fa-f]{2}";
  const std::string future = "v[0-9A-Fa-f]+\\.[" + plain + ":]+";
  return "(([" + plain + ":]|" + percent + ")*@)?(\\[((" + ipv6() + ")|" + future + ")\\]|([" + plain + "]|" + percent +
         ")*)(:[0-9]*)?";
}
std::string segments(std::string_view what) {
  const std::string pchar = "([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})";
  const std::string no_colon = "([A-Za-z0-9._~!$&'()*+,;=@-]|%[0-9A-Fa-f]{2})";
  std::string more = "(/" + pchar + "*)*";
  if (what == "rootless") return pchar + "+" + more;
  if (what == "no scheme") return no_colon + "+" + more;
  if (what == "absolute") return "/(" + pchar + "+" + more + ")?";
  if (what == "tail")
    return "(\\?([A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?(#([A-Za-z0-9._~!$&'()*+,;=:@/"
           "?-]|%[0-9A-Fa-f]{2})*)?";
  return more;
}
std::string uri() {
  return "[A-Za-z][A-Za-z0-9+.-]*:(//" + authority() + segments("") + "|" + segments("absolute") + "|" +
         segments("rootless") + ")?" + segments("tail");
}
std::string uri_reference() {
  return "(" + uri() + "|(//" + authority() + segments("") + "|" + segments("absolute") + "|" + segments("no scheme") +
         ")?" + segments("tail") + ")";
}
std::string pointer() { return "(/([^~/]|~[01])*)*"; }

const std::vector<Format>& formats() {
  static const std::vector<Format> all = {
      {"date-time", date() + "[Tt]" + time()},
      {"date", date()},
      {"time", time()},
      {"duration", duration()},
      {"email", email()},
      {"hostname", hostname()},
      {"ipv4", ipv4()},
      {"ipv6", ipv6()},
      {"uuid", "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"},
      {"uri", uri()},
      {"uri-reference", uri_reference()},
      {"json-pointer", pointer()},
      {"relative-json-pointer", "(0|[1-9][0-9]*)(#|" + pointer() + ")"},
  };
  return all;
}

}  // namespace

const Automaton* format_automaton(std::string_view name) {
  static std::mutex mutex;
  static std::map<std::string_view, Automaton> made;  // nodes stay where they are
  for (const Format& format : formats()) {
    if (format.name != name) continue;
    std::lock_guard lock(mutex);
    auto found = made.find(format.name);
    if (found == made.end()) {
      Automaton automaton = match_automaton(format.pattern, {});
      if (name == "hostname") {
        GrammarLimits limits;
        limits.automaton_states = 40'000;  // places in a label times the length so far
        automaton = difference(automaton, match_automaton("(.*\\.)?([Xx][Nn]|..)--.*", limits), limits);
        automaton = intersection(automaton, match_automaton("[ -~]{1,253}", limits), limits);
      }
      found = made.emplace(format.name, std::move(automaton)).first;
    }
    return &found->second;
  }
  return nullptr;
}

std::string known_formats() {
  std::string all;
  for (const Format& format : formats()) all.append(all.empty() ? "" : ", ").append(format.name);
  return all;
}

}  // namespace nacelle::constrain
