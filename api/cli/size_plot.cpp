#include "api/cli/size_plot.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

namespace nacelle::cli {
namespace {

constexpr double kWidth = 760, kHeight = 480, kLeft = 78, kRight = 24, kTop = 74, kBottom = 62;
constexpr double kLetter = 6.4, kLine = 15, kMark = 5;  // of a label's text; a mark's radius
// Distinct for readers who see few colours too: each has a mark of its own shape. Light and dark.
constexpr const char* kColours[][2] = {{"#0b63ce", "#6cb2ff"}, {"#b3450b", "#ffa066"}, {"#1a7f4b", "#5fd39a"},
                                       {"#8e2fb0", "#d69bf0"}, {"#8a6d00", "#e6c84a"}, {"#00707a", "#5fd0da"}};

std::string escape(const std::string& text) {
  std::string safe;
  for (const char c : text) {
    if (c == '<')
      safe += "&lt;";
    else if (c == '>')
      safe += "&gt;";
    else if (c == '&')
      safe += "&amp;";
    else if (c == '"')
      safe += "&quot;";
    else if (static_cast<unsigned char>(c) >= 0x20)
      safe += c;
  }
  return safe;
}

struct Axis {
  double low = 0, high = 1, from = 0, to = 1;  // values, and where they lie in the picture
  bool is_log = false;
  std::vector<double> ticks;
  double operator()(double value) const {
    const auto scale = [&](double v) { return is_log ? std::log10(std::max(v, low)) : v; };
    return from + (scale(value) - scale(low)) / (scale(high) - scale(low)) * (to - from);
  }
};

// Round steps: 1, 2 or 5 times a power of ten, five or so of them.
Axis linear_axis(double low, double high) {
  if (!(high > low)) {
    const double pad = low == 0 ? 1 : std::abs(low) * 0.1;
    low -= pad;
    high += pad;
  }
  const double raw = (high - low) / 5, power = std::pow(10, std::floor(std::log10(raw)));
  const double step = power * (raw / power < 1.5 ? 1 : raw / power < 3.5 ? 2 : raw / power < 7.5 ? 5 : 10);
  Axis axis;
  axis.low = std::floor(low / step) * step;
  axis.high = std::ceil(high / step) * step;
  for (int i = 0; axis.low + i * step <= axis.high + step / 2; ++i) axis.ticks.push_back(axis.low + i * step);
  return axis;
}

// From one power of ten to another; of a short one also the twos and fives.
Axis log_axis(double low, double high) {
  Axis axis;
  axis.is_log = true;
  const int first = static_cast<int>(std::floor(std::log10(low))), last = static_cast<int>(std::ceil(std::log10(high)));
  axis.low = std::pow(10, first);
  axis.high = std::pow(10, std::max(last, first + 1));
  for (int power = first; power <= std::max(last, first + 1); ++power)
    for (const double digit : {1.0, 2.0, 5.0}) {
      const double tick = digit * std::pow(10, power);
      if ((digit == 1 || last - first < 3) && tick <= axis.high * 1.0001) axis.ticks.push_back(tick);
    }
  return axis;
}

Axis y_axis(const std::vector<PlotPoint>& points) {
  constexpr double kSpan = 10;
  double low = std::numeric_limits<double>::max(), high = 0, least = low, most = -low;
  for (const PlotPoint& point : points) {
    least = std::min(least, point.y);
    most = std::max(most, point.y);
    if (point.y > 0) low = std::min(low, point.y), high = std::max(high, point.y);
  }
  Axis axis = high > low * kSpan ? log_axis(low, high) : linear_axis(std::min(least, most), most);
  axis.from = kHeight - kBottom;
  axis.to = kTop;
  return axis;
}

Axis x_axis(const std::vector<PlotPoint>& points) {
  const auto [least, most] = std::minmax_element(points.begin(), points.end(),
                                                 [](const PlotPoint& a, const PlotPoint& b) { return a.x < b.x; });
  Axis axis = linear_axis(std::min(least->x, 0.9 * least->x), most->x);
  axis.from = kLeft;
  axis.to = kWidth - kRight;
  return axis;
}

struct Box {
  double left, top, right, bottom;
  bool meets(const Box& other) const {
    return left < other.right && other.left < right && top < other.bottom && other.top < bottom;
  }
};

struct Spot {
  double x, y;  // of the text's start, on its base line
};

// Beside, above or below its mark, where it covers nothing that is there already; nothing where all places are taken.
std::optional<Spot> place_label(const std::string& label, double x, double y, std::vector<Box>& taken) {
  const double wide = static_cast<double>(label.size()) * kLetter, gap = kMark + 4;
  const Spot spots[] = {{x + gap, y + 4}, {x - gap - wide, y + 4}, {x - wide / 2, y - gap}, {x - wide / 2, y + gap + 9},
                        {x + gap, y - 9}, {x + gap, y + 17},       {x - gap - wide, y - 9}, {x - gap - wide, y + 17}};
  for (const Spot& spot : spots) {
    const Box box = {spot.x - 2, spot.y - kLine + 4, spot.x + wide + 2, spot.y + 4};
    if (box.left < kLeft || box.right > kWidth - 4 || box.top < kTop - 16 || box.bottom > kHeight - kBottom) continue;
    if (std::any_of(taken.begin(), taken.end(), [&](const Box& other) { return box.meets(other); })) continue;
    taken.push_back(box);
    return spot;
  }
  return std::nullopt;
}

// A circle, a square, a triangle, a diamond, and these again, hollow.
std::string mark(std::size_t series, double x, double y) {
  const std::string style = fmt::format("class=\"s{}\"", series % std::size(kColours));
  const char* shape = nullptr;
  switch (series % 4) {
    case 0: return fmt::format("<circle {} cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\"/>", style, x, y, kMark);
    case 1: shape = "-4.5,-4.5 4.5,-4.5 4.5,4.5 -4.5,4.5"; break;
    case 2: shape = "0,-6 5.5,4.5 -5.5,4.5"; break;
    default: shape = "0,-6 6,0 0,6 -6,0"; break;
  }
  return fmt::format("<polygon {} points=\"{}\" transform=\"translate({:.1f} {:.1f})\"/>", style, shape, x, y);
}

std::string style() {
  std::string css =
      "svg{color-scheme:light dark}text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;fill:#1d2430}"
      ".title{font-size:15px;font-weight:600}.muted{fill:#566072}.page{fill:#fff}.grid{stroke:#e3e7ee}"
      ".axis{stroke:#8a94a6}";
  std::string dark =
      "text{fill:#e6eaf2}.muted{fill:#a3adbf}.page{fill:#12161d}.grid{stroke:#2a3140}.axis{stroke:#6b7689}";
  for (std::size_t i = 0; i < std::size(kColours); ++i) {
    css += fmt::format(".s{}{{fill:{}}}", i, kColours[i][0]);
    dark += fmt::format(".s{}{{fill:{}}}", i, kColours[i][1]);
  }
  return "<style>" + css + "@media(prefers-color-scheme:dark){" + dark + "}</style>\n";
}

// "class" is the text's; `anchor`: start, middle or end.
std::string text(double x, double y, const std::string& of, const char* anchor, const char* style_class) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\" class=\"{}\">{}</text>\n", x, y, anchor,
                     style_class, escape(of));
}

std::string frame(const Plot& plot, const Axis& x, const Axis& y) {
  std::string svg = text(kLeft, 26, plot.title, "start", "title");
  const auto line = [](double x1, double y1, double x2, double y2, const char* of) {
    return fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" class=\"{}\"/>\n", x1, y1, x2, y2,
                       of);
  };
  for (const double tick : y.ticks) {
    svg += line(x.from, y(tick), x.to, y(tick), "grid");
    svg += text(x.from - 8, y(tick) + 4, fmt::format("{:.4g}", std::abs(tick) < 1e-12 ? 0 : tick), "end", "muted");
  }
  for (const double tick : x.ticks) {
    svg += line(x(tick), y.from, x(tick), y.from + 5, "axis");
    svg += text(x(tick), y.from + 20, fmt::format("{:.4g}", std::abs(tick) < 1e-12 ? 0 : tick), "middle", "muted");
  }
  svg += line(x.from, y.from, x.to, y.from, "axis");
  svg += text((x.from + x.to) / 2, kHeight - 18, plot.x_label, "middle", "");
  svg += fmt::format("<text transform=\"translate(20 {:.1f}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
                     (y.from + y.to) / 2, escape(plot.y_label));
  return svg;
}

std::vector<std::string> series_of(const Plot& plot) {
  std::vector<std::string> names;
  for (const PlotPoint& point : plot.points)
    if (std::find(names.begin(), names.end(), point.series) == names.end()) names.push_back(point.series);
  return names;
}

// Under the title, in as many lines as it needs.
std::string legend(const std::vector<std::string>& series) {
  std::string svg;
  if (series.size() < 2) return svg;
  double x = kLeft, y = 46;
  for (std::size_t i = 0; i < series.size(); ++i) {
    const double wide = static_cast<double>(series[i].size()) * kLetter + 34;
    if (x > kLeft && x + wide > kWidth - kRight) {
      x = kLeft;
      y += kLine;
    }
    svg += mark(i, x + 6, y - 4) + "\n" + text(x + 16, y, series[i], "start", "muted");
    x += wide;
  }
  return svg;
}

}  // namespace

std::string draw(const Plot& plot) {
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" role=\"img\" "
      "aria-label=\"{2}\">\n",
      kWidth, kHeight, escape(plot.title));
  svg += style() + fmt::format("<rect class=\"page\" width=\"{}\" height=\"{}\"/>\n", kWidth, kHeight);
  if (plot.points.empty())
    return svg + text(kWidth / 2, kHeight / 2, "nothing to draw", "middle", "muted") + "</svg>\n";
  const Axis x = x_axis(plot.points), y = y_axis(plot.points);
  const std::vector<std::string> series = series_of(plot);
  svg += frame(plot, x, y) + legend(series);
  std::vector<Box> taken;
  for (const PlotPoint& point : plot.points)
    taken.push_back({x(point.x) - kMark, y(point.y) - kMark, x(point.x) + kMark, y(point.y) + kMark});
  for (const PlotPoint& point : plot.points) {
    const auto number =
        static_cast<std::size_t>(std::find(series.begin(), series.end(), point.series) - series.begin());
    svg += fmt::format("<g><title>{}: {:.4g}, {:.4g}</title>{}</g>\n",
                       escape(point.label + (point.series.empty() ? "" : " " + point.series)), point.x, point.y,
                       mark(number, x(point.x), y(point.y)));
    if (const auto spot = place_label(point.label, x(point.x), y(point.y), taken))
      svg += text(spot->x, spot->y, point.label, "start", "");
  }
  return svg + "</svg>\n";
}

}  // namespace nacelle::cli
