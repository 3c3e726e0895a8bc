// Losses: the value and its gradient, from one pass. The lanes of a warp share a row.

namespace kernels {

// A loss is the mean of `value` over a row; its gradient is `slope` for every number. Both are formulas in p, t and
// `scale`, which here is already divided by K. `numbers` reads the plain numbers after the scale, and `before` computes
// what both formulas need.
#define LOSS_WITH(name, numbers, before, value, slope)                                     \
  template <class T> DEVICE void name(Line line, const Team& team) {                   \
    Matrix<T> losses = line.vector<T>(), gradient = line.matrix<T>();                      \
    Matrix<T> prediction = line.matrix<T>(), target = line.matrix<T>();                    \
    const Size K = prediction.columns;                                                     \
    const T scale = (T)(line.number() / K);                                                \
    numbers;                                                                               \
    for (Rows r(team, prediction.rows, K); r.some(); r.next()) {                           \
      const T *of_p = prediction.row(r.inside()), *of_t = target.row(r.inside());          \
      T* to = gradient.row(r.inside());                                                    \
      T total = 0;                                                                         \
      for (Size j = r.lane; r.there() && j < K; j += r.lanes) {                            \
        const T p = of_p[j], t = of_t[j];                                                  \
        before;                                                                            \
        total += value;                                                                    \
        to[j] = slope;                                                                     \
      }                                                                                    \
      total = warp_sum(total, r.lanes);                                                    \
      if (r.there() && r.lane == 0) losses.data[r.row] = total / K;                        \
    }                                                                                      \
  }
#define LOSS(name, value, slope) LOSS_WITH(name, , , value, slope)

template <class T> DEVICE T log_from_minus_100(T x) { return larger(log_of(x), T(-100)); }

LOSS(mse, (p - t) * (p - t), (scale + scale) * (p - t))
LOSS(half_mse, (p - t) * (p - t) / 2, scale * (p - t))
LOSS(mae, size_of(p - t), p > t ? scale : p < t ? -scale : p - t)
LOSS(binary_cross_entropy, -(t * log_from_minus_100(p) + (1 - t) * log_from_minus_100(1 - p)),
     scale * (p - t) / larger(p * (1 - p), T(1e-12)))
LOSS(sigmoid_binary_cross_entropy, no_less_than_zero(p) - p * t + log1p_of(exp_of(-size_of(p))),
     scale * (sigmoid_of(p) - t))

LOSS_WITH(huber, NUMBER(delta), const T cut = limited(p - t, -delta, delta), cut * (p - t - T(0.5) * cut), scale * cut)
LOSS_WITH(log_cosh, , const T size = size_of(p - t); const T tanh = tanh_of(p - t),
          size < T(0.5) ? T(-0.5) * log1p_of(-tanh * tanh)
                        : size + log1p_of(exp_of(-size - size)) - T(0.69314718055994530942),
          scale * tanh)
LOSS_WITH(quantile, NUMBER(q), const T side = p > t ? T(1) - q : p < t ? -q : p - t, side * (p - t), scale * side)
LOSS_WITH(hinge, , const T margin = T(1) - t * p, no_less_than_zero(margin), margin > 0 ? -scale * t : T(0))
LOSS_WITH(squared_hinge, , const T margin = no_less_than_zero(T(1) - t * p), margin * margin,
          -(scale + scale) * t * margin)
LOSS_WITH(poisson, , const T rate = p + T(1e-8), p - t * log_of(rate), scale * (T(1) - t / rate))
LOSS_WITH(exponential_poisson, , const T rate = exp_of(p), rate - t * p, scale * (rate - t))

// The factor of a focal loss, of p between 0 and 1; `missed` gets how far p is from t.
template <class T> DEVICE T focal_of(T p, T t, T gamma, T of_ones, T of_zeros, T* missed) {
  *missed = larger(p + t - 2 * p * t, T(1e-12));
  return (of_ones * t + of_zeros * (T(1) - t)) * power_of(*missed, gamma);
}

LOSS_WITH(binary_focal, NUMBER(gamma); NUMBER(of_ones); NUMBER(of_zeros),
          T missed; const T power = focal_of(p, t, gamma, of_ones, of_zeros, &missed);
          const T c = -(t * log_from_minus_100(p) + (1 - t) * log_from_minus_100(1 - p)), power * c,
          scale * power *
              ((p - t) / larger(p * (1 - p), T(1e-12)) + gamma * c * (T(1) - t - t) / missed))
LOSS_WITH(sigmoid_binary_focal, NUMBER(gamma); NUMBER(of_ones); NUMBER(of_zeros),
          const T s = sigmoid_of(p); T missed; const T power = focal_of(s, t, gamma, of_ones, of_zeros, &missed);
          const T c = no_less_than_zero(p) - p * t + log1p_of(exp_of(-size_of(p))), power * c,
          scale * power * (s - t + gamma * c * (T(1) - t - t) * s * sigmoid_of(-p) / missed))

template <class T> DEVICE T smallest_normal();
template <> DEVICE float smallest_normal<float>() { return 1.17549435e-38f; }
template <> DEVICE double smallest_normal<double>() { return 2.2250738585072014e-308; }

// t ln t, or 0 where the loss is not relative to the entropy of the targets.
template <bool RELATIVE, class T> DEVICE T entropy_of(T t) {
  return RELATIVE && t != 0 ? t * log_of(larger(t, smallest_normal<T>())) : T(0);
}

template <bool RELATIVE, class T> DEVICE void cross_entropy(Line line, const Team& team) {
  Matrix<T> losses = line.vector<T>(), gradient = line.matrix<T>();
  Matrix<T> prediction = line.matrix<T>(), target = line.matrix<T>();
  const T scale = (T)line.number();
  for (Rows r(team, prediction.rows, prediction.columns); r.some(); r.next()) {
    const T *of_p = prediction.row(r.inside()), *of_t = target.row(r.inside());
    T* to = gradient.row(r.inside());
    T total = 0;
    for (Size j = r.lane; r.there() && j < prediction.columns; j += r.lanes) {
      const T t = of_t[j], p = of_p[j] < smallest_normal<T>() ? smallest_normal<T>() : of_p[j];
      if (t != 0) total -= t * log_of(p) - entropy_of<RELATIVE>(t);
      to[j] = -scale * t / p;
    }
    total = warp_sum(total, r.lanes);
    if (r.there() && r.lane == 0) losses.data[r.row] = total;
  }
}

template <bool RELATIVE, class T> DEVICE void cross_entropy_of_logits(Line line, const Team& team) {
  Matrix<T> losses = line.vector<T>(), gradient = line.matrix<T>();
  Matrix<T> logits = line.matrix<T>(), target = line.matrix<T>();
  const T scale = (T)line.number();
  for (Rows r(team, logits.rows, logits.columns); r.some(); r.next()) {
    const T *z = logits.row(r.inside()), *t = target.row(r.inside());
    T* to = gradient.row(r.inside());
    T highest = z[0], total = 0, loss = 0, targets = 0;
    for (Size j = r.lane; j < logits.columns; j += r.lanes) highest = larger(highest, z[j]);
    highest = warp_largest(highest, r.lanes);
    for (Size j = r.lane; r.there() && j < logits.columns; j += r.lanes) {
      const T shifted = z[j] - highest;
      total += exp_of(shifted);
      loss -= t[j] * shifted - entropy_of<RELATIVE>(t[j]);
      targets += t[j];
    }
    total = warp_sum(total, r.lanes), loss = warp_sum(loss, r.lanes), targets = warp_sum(targets, r.lanes);
    for (Size j = r.lane; r.there() && j < logits.columns; j += r.lanes)
      to[j] = scale * (exp_of(z[j] - highest) / total - t[j]);
    if (r.there() && r.lane == 0) losses.data[r.row] = loss + targets * log_of(total);
  }
}

template <class T> DEVICE void categorical_cross_entropy(Line line, const Team& team) {
  cross_entropy<false, T>(line, team);
}
template <class T> DEVICE void kl_divergence(Line line, const Team& team) { cross_entropy<true, T>(line, team); }
template <class T> DEVICE void softmax_cross_entropy(Line line, const Team& team) {
  cross_entropy_of_logits<false, T>(line, team);
}
template <class T> DEVICE void softmax_kl_divergence(Line line, const Team& team) {
  cross_entropy_of_logits<true, T>(line, team);
}

template <class T> DEVICE void categorical_focal(Line line, const Team& team) {
  Matrix<T> losses = line.vector<T>(), gradient = line.matrix<T>();
  Matrix<T> prediction = line.matrix<T>(), target = line.matrix<T>();
  const T scale = (T)line.number();
  NUMBER(gamma);
  for (Rows r(team, prediction.rows, prediction.columns); r.some(); r.next()) {
    const T *of_p = prediction.row(r.inside()), *of_t = target.row(r.inside());
    T* to = gradient.row(r.inside());
    T total = 0;
    for (Size j = r.lane; r.there() && j < prediction.columns; j += r.lanes) {
      const T p = of_p[j] < smallest_normal<T>() ? smallest_normal<T>() : of_p[j];
      const T q = larger(T(1) - p, T(1e-12)), power = of_t[j] * power_of(q, gamma);
      total -= power * log_of(p);
      to[j] = scale * power * (gamma * log_of(p) / q - T(1) / p);
    }
    total = warp_sum(total, r.lanes);
    if (r.there() && r.lane == 0) losses.data[r.row] = total;
  }
}

template <class T> DEVICE void softmax_categorical_focal(Line line, const Team& team) {
  Matrix<T> losses = line.vector<T>(), gradient = line.matrix<T>();
  Matrix<T> logits = line.matrix<T>(), target = line.matrix<T>();
  const T scale = (T)line.number();
  NUMBER(gamma);
  for (Rows r(team, logits.rows, logits.columns); r.some(); r.next()) {
    const T *z = logits.row(r.inside()), *t = target.row(r.inside());
    T* to = gradient.row(r.inside());
    T highest = z[0], total = 0, loss = 0, sum = 0;
    for (Size j = r.lane; j < logits.columns; j += r.lanes) highest = larger(highest, z[j]);
    highest = warp_largest(highest, r.lanes);
    for (Size j = r.lane; j < logits.columns; j += r.lanes) total += exp_of(z[j] - highest);
    total = log_of(warp_sum(total, r.lanes));
    for (Size j = r.lane; r.there() && j < logits.columns; j += r.lanes) {
      const T log = z[j] - highest - total, p = exp_of(log), q = larger(T(1) - p, T(1e-12));
      const T power = t[j] * power_of(q, gamma);
      loss -= power * log;
      sum += to[j] = power * (gamma * p * log / q - T(1));
    }
    loss = warp_sum(loss, r.lanes), sum = warp_sum(sum, r.lanes);
    for (Size j = r.lane; r.there() && j < logits.columns; j += r.lanes) {
      to[j] = scale * (to[j] - exp_of(z[j] - highest - total) * sum);
    }
    if (r.there() && r.lane == 0) losses.data[r.row] = loss;
  }
}

// ---- targets that are NaN were not measured -------------------------------------------------------------------------

template <class T> DEVICE void leave_out(Line line, const Team& team) {
  Matrix<T> known_prediction = line.matrix<T>(), known_target = line.matrix<T>(), known = line.vector<T>();
  Matrix<T> prediction = line.matrix<T>(), target = line.matrix<T>();
  NUMBER(no_prediction);
  NUMBER(no_target);
  for (Rows r(team, target.rows, target.columns); r.some(); r.next()) {
    const T *p = prediction.row(r.inside()), *t = target.row(r.inside());
    T *to_p = known_prediction.row(r.inside()), *to_t = known_target.row(r.inside()), count = 0;
    for (Size j = r.lane; r.there() && j < target.columns; j += r.lanes) {
      const bool there = t[j] == t[j];
      count += there;
      to_p[j] = there ? p[j] : no_prediction, to_t[j] = there ? t[j] : no_target;
    }
    count = warp_sum(count, r.lanes);
    if (r.there() && r.lane == 0) known.data[r.row] = count / target.columns;
  }
}

template <class T> DEVICE void count_known(Line line, const Team& team) {
  Matrix<T> count = line.vector<T>(), known = line.vector<T>();
  const bool mean = line.number() != 0;
  if (team.block > 0) return;
  const double sum = sum_of(known.columns, [=](Size i) { return (double)known.data[i]; }, team);
  if (team.thread == team.threads - 1) count.data[0] = mean && sum > 0 ? (T)sum : T(1);
}

template <class T> DEVICE void leave_out_backward(Line line, const Team& team) {
  Matrix<T> dprediction = line.matrix<T>(), dknown = line.matrix<T>(), target = line.matrix<T>();
  const T count = line.vector<T>().data[0];
  FOR_EACH(i, target.size()) {
    dprediction.data[i] = target.data[i] == target.data[i] ? dknown.data[i] / count : T(0);
  }
}

template <class T> DEVICE void weigh(Line line, const Team& team) {
  Matrix<T> weighted = line.vector<T>(), dprediction = line.matrix<T>();
  Matrix<T> losses = line.vector<T>(), gradient = line.matrix<T>(), row_weights = line.matrix<T>();
  for (Rows r(team, gradient.rows, gradient.columns); r.there(); r.next()) {
    const T* weight = row_weights.row(r.row);
    const T* from = gradient.row(r.row);
    T* to = dprediction.row(r.row);
    for (Size j = r.lane; j < gradient.columns; j += r.lanes) to[j] = weight[1] == 0 ? T(0) : weight[1] * from[j];
    if (r.lane == 0) weighted.data[r.row] = weight[0] == 0 ? T(0) : weight[0] * losses.data[r.row];
  }
}

}  // namespace kernels
