// Functions of one number, for both types.

DEVICE float exp_of(float x) { return expf(x); }
DEVICE double exp_of(double x) { return exp(x); }
DEVICE float log_of(float x) { return logf(x); }
DEVICE double log_of(double x) { return log(x); }
DEVICE float log1p_of(float x) { return log1pf(x); }
DEVICE double log1p_of(double x) { return log1p(x); }
DEVICE float expm1_of(float x) { return expm1f(x); }
DEVICE double expm1_of(double x) { return expm1(x); }
DEVICE float tanh_of(float x) { return tanhf(x); }
DEVICE double tanh_of(double x) { return tanh(x); }
DEVICE float erf_of(float x) { return erff(x); }
DEVICE double erf_of(double x) { return erf(x); }
DEVICE float sin_of(float x) { return sinf(x); }
DEVICE double sin_of(double x) { return sin(x); }
DEVICE float cos_of(float x) { return cosf(x); }
DEVICE double cos_of(double x) { return cos(x); }
DEVICE float power_of(float x, float y) { return powf(x, y); }
DEVICE double power_of(double x, double y) { return pow(x, y); }
DEVICE float root_of(float x) { return sqrtf(x); }
DEVICE double root_of(double x) { return sqrt(x); }

template <class T> DEVICE T size_of(T x) { return x < 0 ? -x : x; }
template <class T> DEVICE T larger(T a, T b) { return a < b ? b : a; }
template <class T> DEVICE T no_less_than_zero(T x) { return x < 0 ? T(0) : x; }  // NaN stays NaN

template <class T> DEVICE T sigmoid_of(T x) {
  T e = exp_of(-size_of(x));
  return (x < 0 ? e : T(1)) / (T(1) + e);
}
template <class T> DEVICE T limited(T x, T low, T high) { return x < low ? low : x > high ? high : x; }
template <class T> DEVICE T normal_distribution(T x) { return T(0.5) * (T(1) + erf_of(x * T(0.70710678118654752))); }
template <class T> DEVICE T gelu_tanh_of(T x) {
  return tanh_of(T(0.79788456080286536) * x * (T(1) + T(0.044715) * x * x));
}
template <class T> DEVICE T softplus_of(T x) { return no_less_than_zero(x) + log1p_of(exp_of(-size_of(x))); }
