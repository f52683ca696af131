// The activations, by ACTIVATION (NACELLE_ACT_*), which is a constant of the shader.
float sigmoid(float x) { return 1 / (1 + exp(-x)); }
// Of exponentials that cannot overflow.
float tanh_of(float x) {
  const float t = exp(-2 * abs(x));
  return sign(x) * (1 - t) / (1 + t);
}
// Abramowitz and Stegun, 7.1.26: within 1.5e-7.
float erf_of(float x) {
  const float t = 1 / (1 + 0.3275911 * abs(x));
  const float p = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return sign(x) * (1 - p * exp(-x * x));
}

float softplus(float x) { return max(x, 0) + log(1 + exp(-abs(x))); }
// e^x - 1 - x for x up to 0: near 0, where its parts cancel, by the series x^2 / 2! + x^3 / 3! + ...
float exp_beyond_line(float x) {
  if (x < -0.5) return exp(x) - 1 - x;
  const float end = 8.3333333e-3 + x * (1.3888889e-3 + x * (1.9841270e-4 + x * (2.4801587e-5 + x * 2.7557319e-6)));
  return x * x * (0.5 + x * (1.6666667e-1 + x * (4.1666667e-2 + x * end)));
}
float xielu(float x, float rise, float fall, float slope, float epsilon) {
  if (x > 0) return softplus(rise) * x * x + slope * x;
  const float cut = min(x, epsilon);
  return (slope + softplus(fall)) * (exp_beyond_line(cut) + (cut - x)) + slope * x;
}

float activate(float x, float alpha) {
  switch (ACTIVATION) {
    case 1: return x * sigmoid(alpha * x);
    case 2: return 0.5 * x * (1 + erf_of(x * 0.70710678));
    case 3: return 0.5 * x * (1 + tanh_of(0.79788456 * (x + 0.044715 * x * x * x)));
    case 4: return x * sigmoid(1.702 * x);
    case 5: return max(x, 0);
    case 6: return tanh_of(x);
    default: return sigmoid(x);
  }
}
