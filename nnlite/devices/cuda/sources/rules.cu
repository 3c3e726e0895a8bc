// The rules of optimizers, and what goes before and after a rule. Most treat each parameter (P,) by itself.

namespace kernels {

template <class T> DEVICE void add_decay(Line line, const Team& team) {
  Matrix<T> dw = line.vector<T>(), w = line.vector<T>();
  const T decay = (T)line.number();
  FOR_EACH(i, w.columns) dw.data[i] += decay * w.data[i];
}

template <class T> DEVICE void sgd_step(Line line, const Team& team) {
  Matrix<T> w = line.vector<T>(), dw = line.vector<T>(), lr = line.vector<T>();
  const T rate = lr.data[0];
  auto moved = [=](Size i) { return w.data[i] - rate * dw.data[i]; };
  read_ahead(w.columns, moved, [=](Size i, T value) { w.data[i] = value; }, team);
}

// factors[0] <- -lr, for products that move weights: W <- factors[0] x' dy + factors[1] W. The second is 1.
template <class T> DEVICE void factors(Line line, const Team& team) {
  Matrix<T> factors = line.vector<T>(), lr = line.vector<T>();
  if (team.rank() == 0) factors.data[0] = -lr.data[0];
}

template <class T> DEVICE void momentum_step(Line line, const Team& team) {
  Matrix<T> w = line.vector<T>(), velocity = line.vector<T>(), dw = line.vector<T>(), lr = line.vector<T>();
  const T rate = lr.data[0], momentum = (T)line.number();
  const bool nesterov = line.number() != 0;
  FOR_EACH(i, w.columns) {
    const T v = momentum * velocity.data[i] + dw.data[i];
    velocity.data[i] = v;
    w.data[i] -= rate * (nesterov ? dw.data[i] + momentum * v : v);
  }
}

template <class T> DEVICE void count_step(Line line, const Team& team) {
  Matrix<T> steps = line.vector<T>();
  if (team.rank() == 0) steps.data[0] += 1;
}

template <class T> DEVICE void adam_step(Line line, const Team& team) {
  Matrix<T> w = line.vector<T>(), m = line.vector<T>(), v = line.vector<T>();
  Matrix<T> dw = line.vector<T>(), steps = line.vector<T>(), lr = line.vector<T>();
  const double beta1 = line.number(), beta2 = line.number();
  const T epsilon = (T)line.number(), new1 = (T)(1 - beta1), new2 = (T)(1 - beta2);
  const double unbias1 = beta1 > 0 ? -expm1(steps.data[0] * log(beta1)) : 1;
  const double unbias2 = beta2 > 0 ? -expm1(steps.data[0] * log(beta2)) : 1;
  const T rate = (T)(lr.data[0] / unbias1), spread = (T)(1 / unbias2);
  FOR_EACH(i, w.columns) {
    const T g = dw.data[i];
    m.data[i] += new1 * (g - m.data[i]);
    v.data[i] += new2 * (g * g - v.data[i]);
    w.data[i] -= rate * m.data[i] / (root_of(v.data[i] * spread) + epsilon);
  }
}

// ---- what all optimizers share: limits, decay, averages, and rates of a schedule ------------------------------------

template <class T> DEVICE void clip_values(Line line, const Team& team) {
  Matrix<T> dw = line.vector<T>();
  const T most = (T)line.number();
  FOR_EACH(i, dw.columns) dw.data[i] = dw.data[i] < -most ? -most : dw.data[i] > most ? most : dw.data[i];
}

// By one block, since its threads must know the sum over all numbers.
template <class T> DEVICE void clip_norm(Line line, const Team& team) {
  Matrix<T> dw = line.vector<T>();
  const double most = line.number();
  if (team.block > 0) return;
  double sum = 0;
  for (Size i = team.thread; i < dw.columns; i += team.threads) sum += (double)dw.data[i] * (double)dw.data[i];
  const double factor = most / (sqrt(block_sum(sum, team)) + 1e-6);
  if (factor >= 1) return;
  for (Size i = team.thread; i < dw.columns; i += team.threads) dw.data[i] *= (T)factor;
}

template <class T> DEVICE T sign_of(T x) { return x > 0 ? T(1) : x < 0 ? T(-1) : x; }  // NaN stays NaN

template <class T> DEVICE void add_l1(Line line, const Team& team) {
  Matrix<T> dw = line.vector<T>(), w = line.vector<T>();
  const T decay = (T)line.number();
  FOR_EACH(i, w.columns) dw.data[i] += decay * sign_of(w.data[i]);
}

template <class T> DEVICE void shrink(Line line, const Team& team) {
  Matrix<T> w = line.vector<T>(), lr = line.vector<T>();
  const T rest = (T)(1 - (double)lr.data[0] * line.number());
  FOR_EACH(i, w.columns) w.data[i] *= rest;
}

template <class T> DEVICE void remember(Line line, const Team& team) {
  Matrix<T> before = line.vector<T>(), w = line.vector<T>();
  FOR_EACH(i, w.columns) before.data[i] = w.data[i];
}

template <class T> DEVICE void scale_move(Line line, const Team& team) {
  Matrix<T> w = line.vector<T>(), before = line.vector<T>(), factors = line.vector<T>();
  FOR_EACH(i, w.columns) w.data[i] = before.data[i] + factors.data[i] * (w.data[i] - before.data[i]);
}

// A thread has a column, so that no thread waits for another.
template <class T> DEVICE void limit_norms(Line line, const Team& team) {
  Matrix<T> W = line.matrix<T>();
  const double most = line.number();
  const Size first = line.size(), stop = line.size();
  for (Size j = first + team.rank(); j < stop; j += team.size()) {
    double sum = 0;
    for (Size i = 0; i < W.rows; ++i) sum += (double)W.row(i)[j] * (double)W.row(i)[j];
    const double norm = sqrt(sum);
    for (Size i = 0; norm > most && i < W.rows; ++i) W.row(i)[j] *= (T)(most / norm);
  }
}

template <class T> DEVICE void average_weights(Line line, const Team& team) {
  Matrix<T> averages = line.vector<T>(), w = line.vector<T>(), steps = line.vector<T>();
  const T fresh = (T)(steps.data[0] > 1 ? 1 - line.number() : 1.0);
  FOR_EACH(i, w.columns) averages.data[i] += fresh * (w.data[i] - averages.data[i]);
}

template <class T> DEVICE void take_rate(Line line, const Team& team) {
  Matrix<Word> clock = line.vector<Word>();
  Matrix<T> rate = line.vector<T>();
  Matrix<double> rates = line.vector<double>();
  if (team.rank() > 0) return;
  rate.data[0] = (T)rates.data[clock.data[0] - clock.data[1]];
  clock.data[0] += 1;
}

// ---- the rules of other optimizers ----------------------------------------------------------------------------------

DEVICE double unbias(double beta, double t) { return beta > 0 ? -expm1(t * log(beta)) : 1; }

// m <- a running mean of g, v <- a running mean of g squared.
template <class T> struct Means {
  T new1, new2;

  DEVICE Means(double beta1, double beta2) : new1((T)(1 - beta1)), new2((T)(1 - beta2)) {}
  DEVICE void add(T g, T* m, T* v) const { *m += new1 * (g - *m), *v += new2 * (g * g - *v); }
};

template <class T> DEVICE void amsgrad_step(Line line, const Team& team) {
  Matrix<T> w = line.vector<T>(), m = line.vector<T>(), v = line.vector<T>(), highest = line.vector<T>();
  Matrix<T> dw = line.vector<T>(), scales = line.vector<T>();
  const double beta1 = line.number(), beta2 = line.number();
  const Means<T> means(beta1, beta2);
  const T epsilon = (T)line.number(), rate = scales.data[0], scale = scales.data[1];
  FOR_EACH(i, w.columns) {
    means.add(dw.data[i], m.data + i, v.data + i);
    const T top = highest.data[i] = v.data[i] <= highest.data[i] ? highest.data[i] : v.data[i];
    w.data[i] -= rate * m.data[i] / (root_of(top) * scale + epsilon);
  }
}

template <class T> DEVICE void adam_scales(Line line, const Team& team) {
  Matrix<T> scales = line.vector<T>(), steps = line.vector<T>(), lr = line.vector<T>();
  const double beta1 = line.number(), beta2 = line.number(), t = steps.data[0];
  if (team.rank() > 0) return;
  scales.data[0] = (T)(lr.data[0] / unbias(beta1, t));
  scales.data[1] = (T)(1 / sqrt(unbias(beta2, t)));
}

template <class T> DEVICE void nadam_step(Line line, const Team& team) {
  Matrix<T> w = line.vector<T>(), m = line.vector<T>(), v = line.vector<T>();
  Matrix<T> dw = line.vector<T>(), scales = line.vector<T>();
  const double beta1 = line.number(), beta2 = line.number();
  const Means<T> means(beta1, beta2);
  const T epsilon = (T)line.number(), of_dw = scales.data[0], of_m = scales.data[1], scale = scales.data[2];
  FOR_EACH(i, w.columns) {
    const T g = dw.data[i];
    means.add(g, m.data + i, v.data + i);
    w.data[i] -= (of_dw * g + of_m * m.data[i]) / (root_of(v.data[i]) * scale + epsilon);
  }
}

template <class T> DEVICE void nadam_scales(Line line, const Team& team) {
  Matrix<T> scales = line.vector<T>(), product = line.vector<T>(), steps = line.vector<T>(), lr = line.vector<T>();
  const double beta1 = line.number(), beta2 = line.number(), growth = line.number() * log(0.96), t = steps.data[0];
  if (team.rank() > 0) return;
  const double now = beta1 * (1 - 0.5 * exp(t * growth)), soon = beta1 * (1 - 0.5 * exp((t + 1) * growth));
  const double total = (1 + (double)product.data[0]) * now;
  product.data[0] = (T)(total - 1);
  scales.data[0] = (T)(lr.data[0] * (1 - now) / (1 - total));
  scales.data[1] = (T)(lr.data[0] * soon / (1 - total * soon));
  scales.data[2] = (T)(1 / sqrt(unbias(beta2, t)));
}

template <class T> DEVICE void radam_step(Line line, const Team& team) {
  Matrix<T> w = line.vector<T>(), m = line.vector<T>(), v = line.vector<T>();
  Matrix<T> dw = line.vector<T>(), steps = line.vector<T>(), lr = line.vector<T>();
  const double beta1 = line.number(), beta2 = line.number(), t = steps.data[0];
  const Means<T> means(beta1, beta2);
  const double rest = unbias(beta2, t), longest = 2 / (1 - beta2) - 1, length = longest - 2 * t * (1 - rest) / rest;
  const double q = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length);
  const bool adapts = length > 5;
  const T epsilon = (T)line.number(), rate = (T)(lr.data[0] / unbias(beta1, t));
  const T scale = (T)(adapts ? sqrt(q * rest) : 0);
  FOR_EACH(i, w.columns) {
    means.add(dw.data[i], m.data + i, v.data + i);
    w.data[i] -= rate * m.data[i] * (adapts ? scale / (root_of(v.data[i]) + epsilon) : T(1));
  }
}

template <class T> DEVICE void adamax_step(Line line, const Team& team) {
  Matrix<T> w = line.vector<T>(), m = line.vector<T>(), u = line.vector<T>();
  Matrix<T> dw = line.vector<T>(), steps = line.vector<T>(), lr = line.vector<T>();
  const double beta1 = line.number();
  const T beta2 = (T)line.number(), epsilon = (T)line.number(), fresh = (T)(1 - beta1);
  const T rate = (T)(lr.data[0] / unbias(beta1, steps.data[0]));
  FOR_EACH(i, w.columns) {
    const T g = dw.data[i], now = size_of(g) + epsilon, before = beta2 * u.data[i];
    m.data[i] += fresh * (g - m.data[i]);
    u.data[i] = now <= before ? before : now;
    w.data[i] -= rate * m.data[i] / u.data[i];
  }
}

template <class T> DEVICE void adagrad_step(Line line, const Team& team) {
  Matrix<T> w = line.vector<T>(), v = line.vector<T>(), dw = line.vector<T>(), lr = line.vector<T>();
  const T rate = lr.data[0], epsilon = (T)line.number();
  FOR_EACH(i, w.columns) {
    const T g = dw.data[i];
    v.data[i] += g * g;
    w.data[i] -= rate * g / (root_of(v.data[i]) + epsilon);
  }
}

template <class T> DEVICE void adadelta_step(Line line, const Team& team) {
  Matrix<T> w = line.vector<T>(), v = line.vector<T>(), u = line.vector<T>();
  Matrix<T> dw = line.vector<T>(), lr = line.vector<T>();
  const T rate = lr.data[0], fresh = (T)(1 - line.number()), epsilon = (T)line.number();
  FOR_EACH(i, w.columns) {
    const T g = dw.data[i];
    v.data[i] += fresh * (g * g - v.data[i]);
    const T move = g * root_of(u.data[i] + epsilon) / root_of(v.data[i] + epsilon);
    u.data[i] += fresh * (move * move - u.data[i]);
    w.data[i] -= rate * move;
  }
}

template <class T> DEVICE void rmsprop_scale(Line line, const Team& team) {
  Matrix<T> dw = line.vector<T>(), v = line.vector<T>();
  const T fresh = (T)(1 - line.number()), epsilon = (T)line.number();
  FOR_EACH(i, dw.columns) {
    const T g = dw.data[i];
    v.data[i] += fresh * (g * g - v.data[i]);
    dw.data[i] = g / (root_of(v.data[i]) + epsilon);
  }
}

template <class T> DEVICE void rmsprop_center(Line line, const Team& team) {
  Matrix<T> dw = line.vector<T>(), v = line.vector<T>(), m = line.vector<T>();
  const double rho = line.number();
  const Means<T> means(rho, rho);
  const T epsilon = (T)line.number();
  FOR_EACH(i, dw.columns) {
    const T g = dw.data[i];
    means.add(g, m.data + i, v.data + i);
    dw.data[i] = g / (root_of(no_less_than_zero(v.data[i] - m.data[i] * m.data[i])) + epsilon);
  }
}

template <class T> DEVICE void lion_step(Line line, const Team& team) {
  Matrix<T> w = line.vector<T>(), m = line.vector<T>(), dw = line.vector<T>(), lr = line.vector<T>();
  const double beta1 = line.number(), beta2 = line.number();
  const T rate = lr.data[0], keep = (T)beta1, part = (T)(1 - beta1), fresh = (T)(1 - beta2);
  FOR_EACH(i, w.columns) {
    const T g = dw.data[i];
    w.data[i] -= rate * sign_of(keep * m.data[i] + part * g);
    m.data[i] += fresh * (g - m.data[i]);
  }
}

template <class T> DEVICE void rprop_step(Line line, const Team& team) {
  Matrix<T> w = line.vector<T>(), last = line.vector<T>(), size = line.vector<T>();
  Matrix<T> dw = line.vector<T>(), lr = line.vector<T>();
  const T shorter = (T)line.number(), longer = (T)line.number(), least = (T)line.number(), most = (T)line.number();
  FOR_EACH(i, w.columns) {
    const T both = dw.data[i] * last.data[i], g = both < 0 ? T(0) : dw.data[i];
    T length = size.data[i] > 0 ? size.data[i] : lr.data[0];
    length *= both < 0 ? shorter : both > 0 ? longer : T(1);
    length = length < least ? least : length > most ? most : length;
    size.data[i] = length, last.data[i] = g;
    w.data[i] -= length * sign_of(g);
  }
}

}  // namespace kernels
