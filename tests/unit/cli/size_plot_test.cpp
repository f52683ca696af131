// The plot of `eval --svg`.
#include "api/cli/size_plot.hpp"

#include <catch2/catch.hpp>

using namespace nacelle::cli;

namespace {

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

}  // namespace

TEST_CASE("a plot has a mark for each point and escapes what files are called") {
  const Plot plot = {"a <b> & \"c\"",
                     "MiB",
                     "nats",
                     {{"q4<0>", "", 2, 0.5}, {"q8", "", 4, 0.001}, {"f16", "", 8, 0}, {"same", "", 8, 0}}};
  const std::string svg = draw(plot);
  CHECK(count(svg, "<circle") == 4);
  CHECK(svg.find("a &lt;b&gt; &amp; &quot;c&quot;") != std::string::npos);
  CHECK(svg.find("q4&lt;0&gt;") != std::string::npos);
  CHECK(count(svg, ">0.001</text>") == 1);  // powers of ten: the axis is logarithmic
  CHECK(svg.find("nan") == std::string::npos);
  CHECK(svg.find("inf") == std::string::npos);
  CHECK(count(svg, "class=\"s1\"") == 0);
}

TEST_CASE("series have marks of their own, and odd data still draw") {
  const Plot two = {"", "", "", {{"a", "KV f16", 1, 7}, {"a", "KV q4_0", 1, 7}}};
  CHECK(count(draw(two), "<polygon class=\"s1\"") == 2);  // the point and the legend
  for (const Plot& plot :
       {Plot{}, Plot{"", "", "", {{"", "", 0, 0}}}, Plot{"", "", "", {{"a", "", 3, 2}, {"b", "", 3, 2}}}}) {
    const std::string svg = draw(plot);
    CHECK(svg.ends_with("</svg>\n"));
    CHECK(svg.find("nan") == std::string::npos);
  }
}
