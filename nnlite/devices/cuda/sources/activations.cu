// Activations: forward and backward one under the other. Most are a formula; softmax is one over a row.

namespace kernels {

// Makes two kernels: `name` for x, and `bias_name` for x + b, after a product by cuBLAS. `numbers` reads plain numbers.
// Without any, FORWARD also makes `name_then`, for what a thread has just made (pairs.py): it gets x, its row and its
// column.
#define FORWARD_WITH(name, numbers, formula)                                                  \
  template <class T> DEVICE void name(Line line, const Team& team) {                      \
    Matrix<T> to = line.matrix<T>(), from = line.matrix<T>();                                 \
    numbers;                                                                                  \
    FOR_EACH(i, to.size()) {                                                                  \
      const T x = from.data[i];                                                               \
      to.data[i] = formula;                                                                   \
    }                                                                                         \
  }                                                                                           \
  template <class T> DEVICE void bias_##name(Line line, const Team& team) {               \
    Matrix<T> to = line.matrix<T>(), from = line.matrix<T>(), b = line.vector<T>();           \
    numbers;                                                                                  \
    auto read = [=](Size i) { return from.data[i] + b.data[i % b.columns]; };                 \
    read_ahead(to.size(), read, [=](Size i, T x) { to.data[i] = formula; }, team);            \
  }

// Makes two kernels: `name`, and `name_bias`, which also sums dx over the rows in the same pass: a bias's gradient, or
// with a learning rate what moves the bias. The array beside dy is `y` or `x`, whatever `kept` says.
#define BACKWARD_WITH(name, kept, numbers, formula)                                           \
  template <class T> DEVICE void name(Line line, const Team& team) {                      \
    Matrix<T> dx = line.matrix<T>(), of_dy = line.matrix<T>(), of_##kept = line.matrix<T>();  \
    numbers;                                                                                  \
    FOR_EACH(i, dx.size()) {                                                                  \
      const T dy = of_dy.data[i], kept = of_##kept.data[i];                                   \
      dx.data[i] = formula;                                                                   \
    }                                                                                         \
  }                                                                                           \
  template <class T> DEVICE void name##_bias(Line line, const Team& team) {               \
    Matrix<T> dx = line.matrix<T>(), db = line.vector<T>(), lr = line.vector<T>();            \
    Matrix<T> of_dy = line.matrix<T>(), of_##kept = line.matrix<T>();                         \
    numbers;                                                                                  \
    auto made = [=](Size i, Size j) {                                                         \
      const T dy = of_dy.row(i)[j], kept = of_##kept.row(i)[j];                               \
      return (T)(formula);                                                                    \
    };                                                                                        \
    auto keep = [=](Size i, Size j, T made) { dx.row(i)[j] = made; };                         \
    const bool moves = lr.columns > 0;                                                        \
    auto write = [=](Size j, T sum) {                                                         \
      db.data[j] = moves ? db.data[j] - lr.data[0] * sum : sum;                               \
    };                                                                                        \
    column_sums<T>(dx.rows, 0, dx.columns, made, keep, write, team);                          \
  }

#define FORWARD(name, formula)                                   \
  FORWARD_WITH(name, , formula)                                  \
  template <class T> struct name##_then {                        \
    DEVICE name##_then(Line&) {}                                 \
    DEVICE T operator()(T x, Size, Size) const { return formula; } \
  };

// Without numbers, the same for dy. The array beside it is in the line.
#define BACKWARD_OF(name, kept, formula)                                    \
  BACKWARD_WITH(name, kept, , formula)                                      \
  template <class T> struct name##_then {                                   \
    Matrix<T> beside;                                                       \
    DEVICE name##_then(Line& line) : beside(line.matrix<T>()) {}            \
    DEVICE T operator()(T dy, Size i, Size j) const {                       \
      const T kept = beside.row(i)[j];                                      \
      return formula;                                                       \
    }                                                                       \
  };
#define BACKWARD(name, formula) BACKWARD_OF(name, y, formula)

// Nothing follows a product.
template <class T> struct as_it_is {
  DEVICE as_it_is() {}
  DEVICE as_it_is(Line&) {}
  DEVICE T operator()(T x, Size, Size) const { return x; }
};

FORWARD(sigmoid, sigmoid_of(x))
BACKWARD(sigmoid_backward, dy * y * (T(1) - y))

FORWARD(tanh, tanh_of(x))
BACKWARD(tanh_backward, dy * (T(1) - y * y))

FORWARD(tanh_offset, sigmoid_of(x + x))
BACKWARD(tanh_offset_backward, (dy + dy) * y * (T(1) - y))

FORWARD(relu, no_less_than_zero(x))
BACKWARD(relu_backward, y > 0 ? dy : T(0))

FORWARD(softplus, softplus_of(x))
BACKWARD(softplus_backward, dy * -expm1_of(-y))

FORWARD_WITH(leaky_relu, NUMBER(slope), x > 0 ? x : slope * x)
BACKWARD_WITH(leaky_relu_backward, y, NUMBER(slope), y > 0 ? dy : slope * dy)

FORWARD_WITH(prelu, const T slope = line.vector<T>().data[0], x > 0 ? x : slope * x)
BACKWARD_WITH(prelu_backward, x, const T slope = line.vector<T>().data[0], x > 0 ? dy : slope * dy)

FORWARD_WITH(elu, NUMBER(alpha); NUMBER(scale), scale * (x > 0 ? x : alpha * expm1_of(x)))
BACKWARD_WITH(elu_backward, y, NUMBER(alpha); NUMBER(scale), dy * (y > 0 ? scale : y + scale * alpha))

FORWARD(gelu, x * normal_distribution(x))
BACKWARD_OF(gelu_backward, x,
              dy * (normal_distribution(x) + x * T(0.39894228040143267794) * exp_of(T(-0.5) * x * x)))

FORWARD(gelu_tanh, T(0.5) * x * (T(1) + gelu_tanh_of(x)))
BACKWARD_OF(gelu_tanh_backward, x,
            T(0.5) * dy *
                (T(1) + gelu_tanh_of(x) +
                 x * (T(1) - gelu_tanh_of(x) * gelu_tanh_of(x)) * T(0.79788456080286536) *
                     (T(1) + T(3) * T(0.044715) * x * x)))

FORWARD(silu, x * sigmoid_of(x))
BACKWARD_OF(silu_backward, x, dy * sigmoid_of(x) * (T(1) + x * (T(1) - sigmoid_of(x))))

FORWARD(mish, x * tanh_of(softplus_of(x)))
BACKWARD_OF(mish_backward, x,
              dy * (tanh_of(softplus_of(x)) +
                    x * (T(1) - tanh_of(softplus_of(x)) * tanh_of(softplus_of(x))) * sigmoid_of(x)))

FORWARD(softsign, x / (T(1) + size_of(x)))
BACKWARD(softsign_backward, dy * (T(1) - size_of(y)) * (T(1) - size_of(y)))

FORWARD(hard_sigmoid, limited((x + T(3)) * T(1.0 / 6), T(0), T(1)))
BACKWARD(hard_sigmoid_backward, (y > 0 && y < 1 ? dy * T(1.0 / 6) : T(0)))

FORWARD_WITH(hard_tanh, NUMBER(low); NUMBER(high), limited(x, low, high))
BACKWARD_WITH(hard_tanh_backward, y, NUMBER(low); NUMBER(high), (y > low && y < high ? dy : T(0)))

FORWARD(exponential, exp_of(x))
BACKWARD(exponential_backward, dy * y)

FORWARD_WITH(sine, NUMBER(frequency), sin_of(frequency * x))
BACKWARD_WITH(sine_backward, x, NUMBER(frequency), dy * frequency * cos_of(frequency * x))

FORWARD_WITH(scaled, NUMBER(factor); NUMBER(offset), factor * x + offset)

BACKWARD(dropout_backward, dy * y)  // y is the mask here

template <class T> DEVICE void prelu_backward_slope(Line line, const Team& team) {
  Matrix<T> dslope = line.vector<T>(), dy = line.matrix<T>(), x = line.matrix<T>();
  if (team.block > 0) return;
  double sum = 0;
  for (Size i = team.thread; i < x.size(); i += team.threads) sum += dy.data[i] * (x.data[i] > 0 ? T(0) : x.data[i]);
  sum = block_sum(sum, team);
  if (team.thread == 0) dslope.data[0] = (T)sum;
}

template <class T> DEVICE void softmax(Line line, const Team& team) {
  Matrix<T> y = line.matrix<T>(), x = line.matrix<T>();
  for (Rows r(team, y.rows, y.columns); r.some(); r.next()) {
    const T* from = x.row(r.inside());
    T* to = y.row(r.row);
    T highest = from[0], total = 0;
    for (Size j = r.lane; j < y.columns; j += r.lanes) highest = larger(highest, from[j]);
    highest = warp_largest(highest, r.lanes);
    for (Size j = r.lane; j < y.columns; j += r.lanes) total += exp_of(from[j] - highest);
    total = warp_sum(total, r.lanes);
    for (Size j = r.lane; r.there() && j < y.columns; j += r.lanes) to[j] = exp_of(from[j] - highest) / total;
  }
}

template <class T> DEVICE void softmax_backward(Line line, const Team& team) {
  Matrix<T> dx = line.matrix<T>(), dy = line.matrix<T>(), y = line.matrix<T>();
  for (Rows r(team, y.rows, y.columns); r.some(); r.next()) {
    const T *of_dy = dy.row(r.inside()), *of_y = y.row(r.inside());
    T* to = dx.row(r.row);
    T total = 0;
    for (Size j = r.lane; j < y.columns; j += r.lanes) total += of_dy[j] * of_y[j];
    total = warp_sum(total, r.lanes);
    for (Size j = r.lane; r.there() && j < y.columns; j += r.lanes) to[j] = of_y[j] * (of_dy[j] - total);
  }
}

template <class T> DEVICE void log_softmax(Line line, const Team& team) {
  Matrix<T> y = line.matrix<T>(), x = line.matrix<T>();
  for (Rows r(team, y.rows, y.columns); r.some(); r.next()) {
    const T* from = x.row(r.inside());
    T* to = y.row(r.row);
    T highest = from[0], total = 0;
    for (Size j = r.lane; j < y.columns; j += r.lanes) highest = larger(highest, from[j]);
    highest = warp_largest(highest, r.lanes);
    for (Size j = r.lane; j < y.columns; j += r.lanes) total += exp_of(from[j] - highest);
    total = log_of(warp_sum(total, r.lanes));
    for (Size j = r.lane; r.there() && j < y.columns; j += r.lanes) to[j] = from[j] - highest - total;
  }
}

template <class T> DEVICE void log_softmax_backward(Line line, const Team& team) {
  Matrix<T> dx = line.matrix<T>(), dy = line.matrix<T>(), y = line.matrix<T>();
  for (Rows r(team, y.rows, y.columns); r.some(); r.next()) {
    const T *of_dy = dy.row(r.inside()), *of_y = y.row(r.inside());
    T* to = dx.row(r.row);
    T total = 0;
    for (Size j = r.lane; j < y.columns; j += r.lanes) total += of_dy[j];
    total = warp_sum(total, r.lanes);
    for (Size j = r.lane; r.there() && j < y.columns; j += r.lanes) to[j] = of_dy[j] - exp_of(of_y[j]) * total;
  }
}

}  // namespace kernels
