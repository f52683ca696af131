// `eval --svg`: models by their size against what quantisation cost them.
#pragma once

#include <string>
#include <vector>

namespace nacelle::cli {

struct PlotPoint {
  std::string label;   // unique
  std::string series;  // points of one share a colour and a mark; "" where there is but one
  double x = 0, y = 0;
};

struct Plot {
  std::string title, x_label, y_label;
  std::vector<PlotPoint> points;
};

// A whole SVG document, 760 by 480, which follows the reader's light or dark scheme. The y axis is logarithmic where
// the positive values span a factor of ten or more; values that are not positive then stand on its foot.
std::string draw(const Plot& plot);

}  // namespace nacelle::cli
