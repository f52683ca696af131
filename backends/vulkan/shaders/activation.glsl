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
