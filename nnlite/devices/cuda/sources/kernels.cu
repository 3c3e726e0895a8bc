// The reference's kernels in CUDA, for a team of threads. A kernel reads its operands from a line of integers. It is
// the same function whether its team is a whole grid (one launch for each kernel) or one block of the persistent
// replay. No header is included: NVRTC, nvcc and, with a few macros, a C++ compiler all accept this text.

typedef long long Word;
typedef unsigned int Bits;

#ifndef NNLITE_ON_CPU
#define SHARED(type, name, count) __shared__ type name[count]
#define DYNAMIC_SHARED(type, name) extern __shared__ __align__(16) type name[]
#define WAIT_A_MOMENT()
#define WHOLE_WARP 0xffffffffu
#endif

const int WARP = 32;
const int MOST_THREADS = 1024;  // of a block
const int FEW = 64;             // the most float32 numbers that are added before the sum goes on in float64

// The threads that compute: this thread is one of `threads` in its block, which is one of `blocks`. In the persistent
// replay, every block has its own lines, so its team is one block.
struct Team {
  int thread, threads, block, blocks;

  __device__ Word rank() const { return (Word)block * threads + thread; }
  __device__ Word size() const { return (Word)blocks * threads; }
  __device__ int lane() const { return thread % WARP; }
};

// The rows of a batch on which a thread works. The lanes of a warp that share a row are a power of two, 32 at most, and
// about as many as it has columns. All lanes of a warp make equally many turns, some of them past the last row, so that
// they can exchange numbers.
struct Rows {
  int lanes, lane;
  Word row, apart, count;

  __device__ Rows(const Team& team, Word rows, Word columns) : lanes(1), count(rows) {
    while (lanes < WARP && lanes < columns) lanes *= 2;
    lane = team.thread % lanes, row = team.rank() / lanes, apart = team.size() / lanes;
  }
  __device__ bool some() const { return row - row % (WARP / lanes) < count; }  // whether any lane of the warp has a row
  __device__ bool there() const { return row < count; }
  __device__ Word inside() const { return there() ? row : count - 1; }  // a row that is safe to read
  __device__ void next() { row += apart; }
};

template <class T>
struct Matrix {
  T* data;
  Word rows, columns;

  __device__ T* row(Word i) const { return data + i * columns; }
  __device__ Word size() const { return rows * columns; }
};

// Reads a line from left to right: results first, then operands written in place, then operands that are only read.
struct Line {
  const Word* next;

  template <class T> __device__ Matrix<T> matrix() {
    Matrix<T> m = {(T*)next[0], next[1], next[2]};
    next += 3;
    return m;
  }
  template <class T> __device__ Matrix<T> vector() {
    Matrix<T> v = {(T*)next[0], 1, next[1]};
    next += 2;
    return v;
  }
  __device__ Word size() { return *next++; }
  __device__ double number() {
    double value = *(const double*)next;
    ++next;
    return value;
  }
};

// ---- functions of one number ----------------------------------------------------------------------------------------

__device__ inline float exp_of(float x) { return expf(x); }
__device__ inline double exp_of(double x) { return exp(x); }
__device__ inline float log_of(float x) { return logf(x); }
__device__ inline double log_of(double x) { return log(x); }
__device__ inline float log1p_of(float x) { return log1pf(x); }
__device__ inline double log1p_of(double x) { return log1p(x); }
__device__ inline float expm1_of(float x) { return expm1f(x); }
__device__ inline double expm1_of(double x) { return expm1(x); }
__device__ inline float tanh_of(float x) { return tanhf(x); }
__device__ inline double tanh_of(double x) { return tanh(x); }
__device__ inline float root_of(float x) { return sqrtf(x); }
__device__ inline double root_of(double x) { return sqrt(x); }

template <class T> __device__ T size_of(T x) { return x < 0 ? -x : x; }
template <class T> __device__ T larger(T a, T b) { return a < b ? b : a; }
template <class T> __device__ T no_less_than_zero(T x) { return x < 0 ? T(0) : x; }  // NaN stays NaN

template <class T> __device__ T sigmoid_of(T x) {
  T e = exp_of(-size_of(x));
  return (x < 0 ? e : T(1)) / (T(1) + e);
}
template <class T> __device__ T softplus_of(T x) { return no_less_than_zero(x) + log1p_of(exp_of(-size_of(x))); }

// ---- sums and maxima over a warp, and sums over a block, always in the same order -----------------------------------

template <class T> __device__ T warp_sum(T x, int lanes = WARP) {
  for (int apart = lanes / 2; apart > 0; apart /= 2) x += __shfl_xor_sync(WHOLE_WARP, x, apart);
  return x;
}

template <class T> __device__ T warp_largest(T x, int lanes) {
  for (int apart = lanes / 2; apart > 0; apart /= 2) x = larger(x, __shfl_xor_sync(WHOLE_WARP, x, apart));
  return x;
}

// The sum of one number from each thread of a block; every thread gets it.
__device__ inline double block_sum(double x, const Team& team) {
  SHARED(double, of_warp, MOST_THREADS / WARP);
  x = warp_sum(x);
  __syncthreads();  // until all threads have read the former contents of `of_warp`
  if (team.lane() == 0) of_warp[team.thread / WARP] = x;
  __syncthreads();
  double sum = 0;
  for (int w = 0; w < team.threads / WARP; ++w) sum += of_warp[w];
  return sum;
}

// b <- s + alpha times the sum of value(row, column) over the rows; s is b if `adding`, or else 0. A warp sums 32
// columns at a time, one for each lane, and the warps of a block divide the rows.
template <class T, class Value>
__device__ void column_sums(T* b, bool adding, Word rows, Word first, Word stop, T alpha, Value value,
                            const Team& team) {
  SHARED(double, part, MOST_THREADS);
  const int warps = team.threads / WARP, warp = team.thread / WARP;
  for (Word left = first + (Word)team.block * WARP; left < stop; left += (Word)team.blocks * WARP) {
    const Word j = left + team.lane();
    double sum = 0;
    for (Word i = warp; j < stop && i < rows; i += FEW * warps) {
      T some = 0;
      for (int k = 0; k < FEW && i + k * warps < rows; ++k) some += value(i + k * warps, j);
      sum += some;
    }
    __syncthreads();  // until all threads have read the former contents of `part`
    part[team.thread] = sum;
    __syncthreads();
    if (warp == 0 && j < stop) {
      for (int w = 1; w < warps; ++w) sum += part[w * WARP + team.lane()];
      b[j] = (adding ? b[j] : T(0)) + alpha * (T)sum;
    }
  }
}

#define FOR_EACH(i, n) for (Word i = team.rank(); i < (n); i += team.size())

namespace kernels {

// ---- rows -----------------------------------------------------------------------------------------------------------

template <class T> __device__ void take_rows(Line line, const Team& team) {
  Matrix<T> y = line.matrix<T>(), x = line.matrix<T>();
  Matrix<Word> order = line.vector<Word>(), position = line.vector<Word>();
  const Word start = position.data[0];
  for (Rows r(team, y.rows, y.columns); r.there(); r.next()) {
    const T* from = x.row(order.data[start + r.row]);
    T* to = y.row(r.row);
    for (Word j = r.lane; j < y.columns; j += r.lanes) to[j] = from[j];
  }
}

template <class T> __device__ void read_rows(Line line, const Team& team) {
  Matrix<T> y = line.matrix<T>(), x = line.matrix<T>();
  const T* from = x.row(line.vector<Word>().data[0]);
  FOR_EACH(i, y.size()) y.data[i] = from[i];
}

template <class T> __device__ void write_rows(Line line, const Team& team) {
  Matrix<T> answer = line.matrix<T>(), y = line.matrix<T>();
  T* to = answer.row(line.vector<Word>().data[0]);
  FOR_EACH(i, y.size()) to[i] = y.data[i];
}

template <class T> __device__ void finite_rows(Line line, const Team& team) {
  Matrix<T> zeros = line.vector<T>(), x = line.matrix<T>();
  for (Rows r(team, x.rows, x.columns); r.some(); r.next()) {
    const T* from = x.row(r.inside());
    T sum = 0;
    for (Word j = r.lane; j < x.columns; j += r.lanes) sum += from[j] * T(0);
    sum = warp_sum(sum, r.lanes);
    if (r.there() && r.lane == 0) zeros.data[r.row] = sum;
  }
}

template <class T> __device__ void advance(Line line, const Team& team) {
  Matrix<Word> position = line.vector<Word>();
  const Word N = line.size();
  if (team.rank() == 0) position.data[0] += N;
}

// y <- y + b, after a product by cuBLAS.
template <class T> __device__ void add_bias(Line line, const Team& team) {
  Matrix<T> y = line.matrix<T>(), b = line.vector<T>();
  FOR_EACH(i, y.size()) y.data[i] += b.data[i % b.columns];
}

// ---- activations ----------------------------------------------------------------------------------------------------

// Makes two kernels: `name` for x, and `bias_name` for x + b, after a product by cuBLAS.
#define FORWARD(name, formula)                                                                \
  template <class T> __device__ void name(Line line, const Team& team) {                      \
    Matrix<T> to = line.matrix<T>(), from = line.matrix<T>();                                 \
    FOR_EACH(i, to.size()) {                                                                  \
      const T x = from.data[i];                                                               \
      to.data[i] = formula;                                                                   \
    }                                                                                         \
  }                                                                                           \
  template <class T> __device__ void bias_##name(Line line, const Team& team) {               \
    Matrix<T> to = line.matrix<T>(), from = line.matrix<T>(), b = line.vector<T>();           \
    FOR_EACH(i, to.size()) {                                                                  \
      const T x = from.data[i] + b.data[i % b.columns];                                       \
      to.data[i] = formula;                                                                   \
    }                                                                                         \
  }

// Makes two kernels: `name`, and `name_bias`, which also sums dx over the rows in the same pass: a bias's gradient.
#define BACKWARD(name, formula)                                                               \
  template <class T> __device__ void name(Line line, const Team& team) {                      \
    Matrix<T> dx = line.matrix<T>(), of_dy = line.matrix<T>(), of_y = line.matrix<T>();       \
    FOR_EACH(i, dx.size()) {                                                                  \
      const T dy = of_dy.data[i], y = of_y.data[i];                                           \
      dx.data[i] = formula;                                                                   \
    }                                                                                         \
  }                                                                                           \
  template <class T> __device__ void name##_bias(Line line, const Team& team) {               \
    Matrix<T> dx = line.matrix<T>(), db = line.vector<T>();                                   \
    Matrix<T> of_dy = line.matrix<T>(), of_y = line.matrix<T>();                              \
    auto made = [=](Word i, Word j) {                                                         \
      const T dy = of_dy.row(i)[j], y = of_y.row(i)[j];                                       \
      return dx.row(i)[j] = formula;                                                          \
    };                                                                                        \
    column_sums(db.data, false, dx.rows, 0, dx.columns, T(1), made, team);                    \
  }

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

BACKWARD(dropout_backward, dy * y)  // y is the mask here

template <class T> __device__ void softmax(Line line, const Team& team) {
  Matrix<T> y = line.matrix<T>(), x = line.matrix<T>();
  for (Rows r(team, y.rows, y.columns); r.some(); r.next()) {
    const T* from = x.row(r.inside());
    T* to = y.row(r.row);
    T highest = from[0], total = 0;
    for (Word j = r.lane; j < y.columns; j += r.lanes) highest = larger(highest, from[j]);
    highest = warp_largest(highest, r.lanes);
    for (Word j = r.lane; j < y.columns; j += r.lanes) total += exp_of(from[j] - highest);
    total = warp_sum(total, r.lanes);
    for (Word j = r.lane; r.there() && j < y.columns; j += r.lanes) to[j] = exp_of(from[j] - highest) / total;
  }
}

template <class T> __device__ void softmax_backward(Line line, const Team& team) {
  Matrix<T> dx = line.matrix<T>(), dy = line.matrix<T>(), y = line.matrix<T>();
  for (Rows r(team, y.rows, y.columns); r.some(); r.next()) {
    const T *of_dy = dy.row(r.inside()), *of_y = y.row(r.inside());
    T* to = dx.row(r.row);
    T total = 0;
    for (Word j = r.lane; j < y.columns; j += r.lanes) total += of_dy[j] * of_y[j];
    total = warp_sum(total, r.lanes);
    for (Word j = r.lane; r.there() && j < y.columns; j += r.lanes) to[j] = of_y[j] * (of_dy[j] - total);
  }
}

// ---- dropout: a hash of its place decides whether a number is dropped, so all devices drop the same -----------------

__device__ inline Bits hash32(Bits x) {
  x = (x ^ (x >> 16)) * 0x21F0AAADu;
  x = (x ^ (x >> 15)) * 0xD35A2D97u;
  return x ^ (x >> 15);
}

template <class T> __device__ void dropout(Line line, const Team& team) {
  Matrix<T> y = line.matrix<T>(), mask = line.matrix<T>(), x = line.matrix<T>();
  Matrix<Word> draws = line.vector<Word>();
  const Word key = line.size();
  const double rate = line.number();
  const Word first = line.size();
  const Bits seed = hash32(hash32((Bits)draws.data[0]) + (Bits)key) + (Bits)(first * x.columns);
  const Bits lowest = (Bits)(rate * 4294967296.0);
  const T kept = (T)(1 / (1 - rate));
  FOR_EACH(i, x.size()) {
    const T m = hash32(seed + (Bits)i) >= lowest ? kept : T(0);
    mask.data[i] = m;
    y.data[i] = x.data[i] * m;
  }
}

// ---- losses: the lanes of a warp share a row ------------------------------------------------------------------------

// A loss is the mean of `value` over a row; its gradient is `slope` for every number. Both are formulas in p, t and
// `scale`, which here is already divided by K.
#define LOSS(name, value, slope)                                                           \
  template <class T> __device__ void name(Line line, const Team& team) {                   \
    Matrix<T> losses = line.vector<T>(), gradient = line.matrix<T>();                      \
    Matrix<T> prediction = line.matrix<T>(), target = line.matrix<T>();                    \
    const Word K = prediction.columns;                                                     \
    const T scale = (T)(line.number() / K);                                                \
    for (Rows r(team, prediction.rows, K); r.some(); r.next()) {                           \
      const T *of_p = prediction.row(r.inside()), *of_t = target.row(r.inside());          \
      T* to = gradient.row(r.inside());                                                    \
      T total = 0;                                                                         \
      for (Word j = r.lane; r.there() && j < K; j += r.lanes) {                            \
        const T p = of_p[j], t = of_t[j];                                                  \
        total += value;                                                                    \
        to[j] = slope;                                                                     \
      }                                                                                    \
      total = warp_sum(total, r.lanes);                                                    \
      if (r.there() && r.lane == 0) losses.data[r.row] = total / K;                        \
    }                                                                                      \
  }

template <class T> __device__ T log_from_minus_100(T x) { return larger(log_of(x), T(-100)); }

LOSS(mse, (p - t) * (p - t), (scale + scale) * (p - t))
LOSS(half_mse, (p - t) * (p - t) / 2, scale * (p - t))
LOSS(mae, size_of(p - t), p > t ? scale : p < t ? -scale : p - t)
LOSS(binary_cross_entropy, -(t * log_from_minus_100(p) + (1 - t) * log_from_minus_100(1 - p)),
     scale * (p - t) / larger(p * (1 - p), T(1e-12)))
LOSS(sigmoid_binary_cross_entropy, no_less_than_zero(p) - p * t + log1p_of(exp_of(-size_of(p))),
     scale * (sigmoid_of(p) - t))

template <class T> __device__ T smallest_normal();
template <> __device__ inline float smallest_normal<float>() { return 1.17549435e-38f; }
template <> __device__ inline double smallest_normal<double>() { return 2.2250738585072014e-308; }

template <class T> __device__ void categorical_cross_entropy(Line line, const Team& team) {
  Matrix<T> losses = line.vector<T>(), gradient = line.matrix<T>();
  Matrix<T> prediction = line.matrix<T>(), target = line.matrix<T>();
  const T scale = (T)line.number();
  for (Rows r(team, prediction.rows, prediction.columns); r.some(); r.next()) {
    const T *of_p = prediction.row(r.inside()), *of_t = target.row(r.inside());
    T* to = gradient.row(r.inside());
    T total = 0;
    for (Word j = r.lane; r.there() && j < prediction.columns; j += r.lanes) {
      const T t = of_t[j], p = of_p[j] < smallest_normal<T>() ? smallest_normal<T>() : of_p[j];
      if (t != 0) total -= t * log_of(p);
      to[j] = -scale * t / p;
    }
    total = warp_sum(total, r.lanes);
    if (r.there() && r.lane == 0) losses.data[r.row] = total;
  }
}

template <class T> __device__ void softmax_cross_entropy(Line line, const Team& team) {
  Matrix<T> losses = line.vector<T>(), gradient = line.matrix<T>();
  Matrix<T> logits = line.matrix<T>(), target = line.matrix<T>();
  const T scale = (T)line.number();
  for (Rows r(team, logits.rows, logits.columns); r.some(); r.next()) {
    const T *z = logits.row(r.inside()), *t = target.row(r.inside());
    T* to = gradient.row(r.inside());
    T highest = z[0], total = 0, loss = 0, targets = 0;
    for (Word j = r.lane; j < logits.columns; j += r.lanes) highest = larger(highest, z[j]);
    highest = warp_largest(highest, r.lanes);
    for (Word j = r.lane; r.there() && j < logits.columns; j += r.lanes) {
      const T shifted = z[j] - highest;
      total += to[j] = exp_of(shifted);
      loss -= t[j] * shifted;
      targets += t[j];
    }
    total = warp_sum(total, r.lanes), loss = warp_sum(loss, r.lanes), targets = warp_sum(targets, r.lanes);
    for (Word j = r.lane; r.there() && j < logits.columns; j += r.lanes) to[j] = scale * (to[j] / total - t[j]);
    if (r.there() && r.lane == 0) losses.data[r.row] = loss + targets * log_of(total);
  }
}

// ---- sums over an epoch, by one block -------------------------------------------------------------------------------

template <class T> __device__ void add_losses(Line line, const Team& team) {
  Matrix<double> total = line.vector<double>();
  Matrix<T> losses = line.vector<T>();
  if (team.block > 0) return;
  double sum = 0;
  for (Word i = team.thread; i < losses.columns; i += team.threads) sum += losses.data[i];
  sum = block_sum(sum, team);
  if (team.thread == 0) total.data[0] += sum;
}

// sums[0] += the sum of `value` over all numbers of prediction and target, sums[1] += the count of these numbers.
#define ERRORS(name, value)                                                                  \
  template <class T> __device__ void name(Line line, const Team& team) {                     \
    Matrix<double> sums = line.vector<double>();                                             \
    Matrix<T> prediction = line.matrix<T>(), target = line.matrix<T>();                      \
    if (team.block > 0) return;                                                              \
    double sum = 0;                                                                          \
    for (Word i = team.thread; i < prediction.size(); i += team.threads) {                   \
      const double error = prediction.data[i] - target.data[i];                              \
      sum += value;                                                                          \
    }                                                                                        \
    sum = block_sum(sum, team);                                                              \
    if (team.thread == 0) sums.data[0] += sum, sums.data[1] += prediction.size();            \
  }

ERRORS(add_absolute_errors, size_of(error))
ERRORS(add_squared_errors, error * error)

template <class T> __device__ void add_hits(Line line, const Team& team) {
  Matrix<double> sums = line.vector<double>();
  Matrix<T> prediction = line.matrix<T>(), target = line.matrix<T>();
  if (team.block > 0) return;
  double hits = 0;
  for (Word i = team.thread; i < prediction.rows; i += team.threads) {
    const T *p = prediction.row(i), *t = target.row(i);
    Word found = 0, expected = 0;
    for (Word j = 1; j < prediction.columns; ++j) {
      if (p[j] > p[found]) found = j;
      if (t[j] > t[expected]) expected = j;
    }
    hits += found == expected;
  }
  hits = block_sum(hits, team);
  if (team.thread == 0) sums.data[0] += hits, sums.data[1] += prediction.rows;
}

template <class T> __device__ void add_sides(Line line, const Team& team) {
  Matrix<double> sums = line.vector<double>();
  Matrix<T> prediction = line.matrix<T>(), target = line.matrix<T>();
  if (team.block > 0) return;
  double of_half = 0, of_zero = 0, below = 0;
  for (Word i = team.thread; i < prediction.size(); i += team.threads) {
    const T p = prediction.data[i], t = target.data[i];
    of_half += (p > T(0.5)) == (t > T(0.5)), of_zero += (p > 0) == (t > 0), below += t < 0;
  }
  of_half = block_sum(of_half, team), of_zero = block_sum(of_zero, team), below = block_sum(below, team);
  if (team.thread == 0) {
    sums.data[0] += of_half, sums.data[1] += of_zero, sums.data[2] += below, sums.data[3] += prediction.size();
  }
}

template <class T> __device__ void add_spreads(Line line, const Team& team) {
  Matrix<double> sums = line.matrix<double>();
  Matrix<T> prediction = line.matrix<T>(), target = line.matrix<T>();
  if (team.block > 0) return;
  for (Word j = 0; j < prediction.columns; ++j) {
    const double before = sums.row(4)[j], mean = sums.row(2)[j], count = before + prediction.rows;
    const double first = before > 0 ? sums.row(1)[j] : (double)target.row(0)[j];
    double errors = 0, total = 0, squares = 0;
    for (Word i = team.thread; i < prediction.rows; i += team.threads) {
      const double error = target.row(i)[j] - prediction.row(i)[j];
      const double d = (double)target.row(i)[j] - first - mean;
      errors += error * error, total += d, squares += d * d;
    }
    // When the first block_sum returns, all threads have read the sums, so thread 0 may write them.
    errors = block_sum(errors, team), total = block_sum(total, team), squares = block_sum(squares, team);
    if (team.thread == 0) {
      sums.row(0)[j] += errors, sums.row(1)[j] = first, sums.row(2)[j] = mean + total / count;
      sums.row(3)[j] += squares - total * total / count, sums.row(4)[j] = count;
    }
  }
}

// ---- optimizers -----------------------------------------------------------------------------------------------------

template <class T> __device__ void add_decay(Line line, const Team& team) {
  Matrix<T> dw = line.vector<T>(), w = line.vector<T>();
  const T decay = (T)line.number();
  FOR_EACH(i, w.columns) dw.data[i] += decay * w.data[i];
}

template <class T> __device__ void sgd_step(Line line, const Team& team) {
  Matrix<T> w = line.vector<T>(), dw = line.vector<T>(), lr = line.vector<T>();
  const T rate = lr.data[0];
  FOR_EACH(i, w.columns) w.data[i] -= rate * dw.data[i];
}

template <class T> __device__ void momentum_step(Line line, const Team& team) {
  Matrix<T> w = line.vector<T>(), velocity = line.vector<T>(), dw = line.vector<T>(), lr = line.vector<T>();
  const T rate = lr.data[0], momentum = (T)line.number();
  const bool nesterov = line.number() != 0;
  FOR_EACH(i, w.columns) {
    const T v = momentum * velocity.data[i] + dw.data[i];
    velocity.data[i] = v;
    w.data[i] -= rate * (nesterov ? dw.data[i] + momentum * v : v);
  }
}

template <class T> __device__ void count_step(Line line, const Team& team) {
  Matrix<T> steps = line.vector<T>();
  if (team.rank() == 0) steps.data[0] += 1;
}

template <class T> __device__ void adam_step(Line line, const Team& team) {
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

// ---- what all optimizers share: limits, decay, averages, and rates of a schedule --------------------------------------

template <class T> __device__ void clip_values(Line line, const Team& team) {
  Matrix<T> dw = line.vector<T>();
  const T most = (T)line.number();
  FOR_EACH(i, dw.columns) dw.data[i] = dw.data[i] < -most ? -most : dw.data[i] > most ? most : dw.data[i];
}

// By one block, since its threads must know the sum over all numbers.
template <class T> __device__ void clip_norm(Line line, const Team& team) {
  Matrix<T> dw = line.vector<T>();
  const double most = line.number();
  if (team.block > 0) return;
  double sum = 0;
  for (Word i = team.thread; i < dw.columns; i += team.threads) sum += (double)dw.data[i] * (double)dw.data[i];
  const double factor = most / (sqrt(block_sum(sum, team)) + 1e-6);
  if (factor >= 1) return;
  for (Word i = team.thread; i < dw.columns; i += team.threads) dw.data[i] *= (T)factor;
}

template <class T> __device__ T sign_of(T x) { return x > 0 ? T(1) : x < 0 ? T(-1) : x; }  // NaN stays NaN

template <class T> __device__ void add_l1(Line line, const Team& team) {
  Matrix<T> dw = line.vector<T>(), w = line.vector<T>();
  const T decay = (T)line.number();
  FOR_EACH(i, w.columns) dw.data[i] += decay * sign_of(w.data[i]);
}

template <class T> __device__ void shrink(Line line, const Team& team) {
  Matrix<T> w = line.vector<T>(), lr = line.vector<T>();
  const T rest = (T)(1 - (double)lr.data[0] * line.number());
  FOR_EACH(i, w.columns) w.data[i] *= rest;
}

template <class T> __device__ void remember(Line line, const Team& team) {
  Matrix<T> before = line.vector<T>(), w = line.vector<T>();
  FOR_EACH(i, w.columns) before.data[i] = w.data[i];
}

template <class T> __device__ void scale_move(Line line, const Team& team) {
  Matrix<T> w = line.vector<T>(), before = line.vector<T>(), factors = line.vector<T>();
  FOR_EACH(i, w.columns) w.data[i] = before.data[i] + factors.data[i] * (w.data[i] - before.data[i]);
}

// A thread has a column, so that no thread waits for another.
template <class T> __device__ void limit_norms(Line line, const Team& team) {
  Matrix<T> W = line.matrix<T>();
  const double most = line.number();
  const Word first = line.size(), stop = line.size();
  for (Word j = first + team.rank(); j < stop; j += team.size()) {
    double sum = 0;
    for (Word i = 0; i < W.rows; ++i) sum += (double)W.row(i)[j] * (double)W.row(i)[j];
    const double norm = sqrt(sum);
    for (Word i = 0; norm > most && i < W.rows; ++i) W.row(i)[j] *= (T)(most / norm);
  }
}

template <class T> __device__ void average_weights(Line line, const Team& team) {
  Matrix<T> averages = line.vector<T>(), w = line.vector<T>(), steps = line.vector<T>();
  const T fresh = (T)(steps.data[0] > 1 ? 1 - line.number() : 1.0);
  FOR_EACH(i, w.columns) averages.data[i] += fresh * (w.data[i] - averages.data[i]);
}

template <class T> __device__ void take_rate(Line line, const Team& team) {
  Matrix<Word> clock = line.vector<Word>();
  Matrix<T> rate = line.vector<T>();
  Matrix<double> rates = line.vector<double>();
  if (team.rank() > 0) return;
  rate.data[0] = (T)rates.data[clock.data[0] - clock.data[1]];
  clock.data[0] += 1;
}

// ---- the rules of other optimizers ----------------------------------------------------------------------------------

__device__ inline double unbias(double beta, double t) { return beta > 0 ? -expm1(t * log(beta)) : 1; }

// m <- a running mean of g, v <- a running mean of g squared.
template <class T> struct Means {
  T new1, new2;

  __device__ Means(double beta1, double beta2) : new1((T)(1 - beta1)), new2((T)(1 - beta2)) {}
  __device__ void add(T g, T* m, T* v) const { *m += new1 * (g - *m), *v += new2 * (g * g - *v); }
};

template <class T> __device__ void amsgrad_step(Line line, const Team& team) {
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

template <class T> __device__ void adam_scales(Line line, const Team& team) {
  Matrix<T> scales = line.vector<T>(), steps = line.vector<T>(), lr = line.vector<T>();
  const double beta1 = line.number(), beta2 = line.number(), t = steps.data[0];
  if (team.rank() > 0) return;
  scales.data[0] = (T)(lr.data[0] / unbias(beta1, t));
  scales.data[1] = (T)(1 / sqrt(unbias(beta2, t)));
}

template <class T> __device__ void nadam_step(Line line, const Team& team) {
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

template <class T> __device__ void nadam_scales(Line line, const Team& team) {
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

template <class T> __device__ void radam_step(Line line, const Team& team) {
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

template <class T> __device__ void adamax_step(Line line, const Team& team) {
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

template <class T> __device__ void adagrad_step(Line line, const Team& team) {
  Matrix<T> w = line.vector<T>(), v = line.vector<T>(), dw = line.vector<T>(), lr = line.vector<T>();
  const T rate = lr.data[0], epsilon = (T)line.number();
  FOR_EACH(i, w.columns) {
    const T g = dw.data[i];
    v.data[i] += g * g;
    w.data[i] -= rate * g / (root_of(v.data[i]) + epsilon);
  }
}

template <class T> __device__ void adadelta_step(Line line, const Team& team) {
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

template <class T> __device__ void rmsprop_scale(Line line, const Team& team) {
  Matrix<T> dw = line.vector<T>(), v = line.vector<T>();
  const T fresh = (T)(1 - line.number()), epsilon = (T)line.number();
  FOR_EACH(i, dw.columns) {
    const T g = dw.data[i];
    v.data[i] += fresh * (g * g - v.data[i]);
    dw.data[i] = g / (root_of(v.data[i]) + epsilon);
  }
}

template <class T> __device__ void rmsprop_center(Line line, const Team& team) {
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

template <class T> __device__ void lion_step(Line line, const Team& team) {
  Matrix<T> w = line.vector<T>(), m = line.vector<T>(), dw = line.vector<T>(), lr = line.vector<T>();
  const double beta1 = line.number(), beta2 = line.number();
  const T rate = lr.data[0], keep = (T)beta1, part = (T)(1 - beta1), fresh = (T)(1 - beta2);
  FOR_EACH(i, w.columns) {
    const T g = dw.data[i];
    w.data[i] -= rate * sign_of(keep * m.data[i] + part * g);
    m.data[i] += fresh * (g - m.data[i]);
  }
}

template <class T> __device__ void rprop_step(Line line, const Team& team) {
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
