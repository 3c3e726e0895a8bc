// The reference's kernels in CUDA, for a team of threads. A kernel reads its operands from a line of integers. It is
// the same function whether its team is a whole grid (one launch for each kernel) or one block of the persistent
// replay. No header is included: NVRTC, nvcc and, with a few macros, a C++ compiler all accept this text.

typedef long long Word;
typedef unsigned int Bits;
#ifdef NNLITE_REPLAY
typedef int Size;  // of what a persistent replay works on, and places in it: 64 bits would take twice the instructions
#else
typedef Word Size;
#endif

#ifndef NNLITE_ON_CPU
#define DEVICE __device__ __forceinline__  // so that a function knows the sizes that its caller knows
#define SHARED(type, name, count) __shared__ type name[count]
#define DYNAMIC_SHARED(type, name) extern __shared__ __align__(16) type name[]
#define WAIT_A_MOMENT()
#define WHOLE_WARP 0xffffffffu
#define ADDRESS(type, word) ((type*)(word))
#endif

const int WARP = 32;
const int MOST_THREADS = 1024;  // of a block
const int SCRATCH = 2048;       // numbers of a block's scratch, in float64
const int FEW = 64;             // the most rows that a thread sums alone, in their own type, if there is one block
const int AHEAD = 4;            // numbers that a thread reads before it uses the first: memory answers late

// The threads that compute: this thread is one of `threads` in its block, which is one of `blocks`. In the persistent
// replay, every block has its own lines, so its team is one block. In a launch, each block has a counter, which is 0
// when the launch begins and when it ends, and room for sums (WARP,).
struct Team {
  int thread, threads, block, blocks;
  Bits* counters;
  volatile double* room;

  DEVICE Size rank() const { return (Size)block * threads + thread; }
  DEVICE Size size() const { return (Size)blocks * threads; }
  DEVICE int lane() const { return thread % WARP; }
};

// The number of a warp's lanes that share a row with so many columns: a power of two, 32 at most.
DEVICE int lanes_for(Size columns) {
  int lanes = 1;
  while (lanes < WARP && lanes < columns) lanes *= 2;
  return lanes;
}

DEVICE int halvings_of(int lanes) {
  int halvings = 0;
  while (lanes >> halvings > 1) ++halvings;
  return halvings;
}

// The rows of a batch on which a thread works; several lanes of a warp share a row. All lanes of a warp make equally
// many turns, some of them past the last row, so that they can exchange numbers.
struct Rows {
  int lanes, lane;
  Size row, apart, count;

  DEVICE Rows(const Team& team, Size rows, Size columns) : lanes(lanes_for(columns)), count(rows) {
    const int halvings = halvings_of(lanes);
    lane = team.thread & (lanes - 1), row = team.rank() >> halvings, apart = team.size() >> halvings;
  }
  // whether any lane of the warp has a row
  DEVICE bool some() const { return row - (row & (WARP / lanes - 1)) < count; }
  DEVICE bool there() const { return row < count; }
  DEVICE Size inside() const { return there() ? row : count - 1; }  // a row that is safe to read
  DEVICE void next() { row += apart; }
};

template <class T>
struct Matrix {
  T* data;
  Size rows, columns;

  template <class I> DEVICE T* row(I i) const { return data + i * columns; }  // 64 bits for a row of the data
  DEVICE Size size() const { return rows * columns; }
};

// Reads a line from left to right: results first, then operands written in place, then operands that are only read.
struct Line {
  const Word* next;

  template <class T> DEVICE Matrix<T> matrix() {
    Matrix<T> m = {ADDRESS(T, next[0]), (Size)next[1], (Size)next[2]};
    next += 3;
    return m;
  }
  template <class T> DEVICE Matrix<T> vector() {
    Matrix<T> v = {ADDRESS(T, next[0]), 1, (Size)next[1]};
    next += 2;
    return v;
  }
  DEVICE Word size() { return *next++; }
  DEVICE double number() {
    double value = *(const double*)next;
    ++next;
    return value;
  }
};

// ---- functions of one number ----------------------------------------------------------------------------------------

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

// ---- sums and maxima over a warp, and sums over a block, always in the same order -----------------------------------

template <class T> DEVICE T warp_sum(T x, int lanes = WARP) {
  for (int apart = lanes / 2; apart > 0; apart /= 2) x += __shfl_xor_sync(WHOLE_WARP, x, apart);
  return x;
}

template <class T> DEVICE T warp_largest(T x, int lanes) {
  for (int apart = lanes / 2; apart > 0; apart /= 2) x = larger(x, __shfl_xor_sync(WHOLE_WARP, x, apart));
  return x;
}

// The sum of one number from each thread of a block; every thread gets it.
DEVICE double block_sum(double x, const Team& team) {
  SHARED(double, of_warp, MOST_THREADS / WARP);
  x = warp_sum(x);
  __syncthreads();  // until all threads have read the former contents of `of_warp`
  if (team.lane() == 0) of_warp[team.thread / WARP] = x;
  __syncthreads();
  double sum = 0;
  for (int w = 0; w < team.threads / WARP; ++w) sum += of_warp[w];
  return sum;
}

// Numbers of a block's threads, in one place for all kernels: a template would have a place for each of its kinds.
DEVICE double* scratch() {
  SHARED(double, part, SCRATCH);
  return part;
}

// The sum of value(i) for i < count, for thread 0. Few numbers are added by one warp, so that no other waits for it.
template <class Value> DEVICE double sum_of(Size count, Value value, const Team& team) {
  double sum = 0;
  if (count <= 4 * WARP) {
    if (team.thread >= WARP) return 0;
    for (Size i = team.thread; i < count; i += WARP) sum += value(i);
    return warp_sum(sum);
  }
  for (Size i = team.thread; i < count; i += team.threads) sum += value(i);
  return block_sum(sum, team);
}

// The sum of a number from each thread of a block with the same place among `lanes` threads, for the first `lanes`.
DEVICE double sum_of_lanes(double sum, int lanes, const Team& team) {
  double* part = scratch();
  for (int apart = lanes; apart < WARP; apart *= 2) sum += __shfl_xor_sync(WHOLE_WARP, sum, apart);
  __syncthreads();  // until all threads have read the former contents of `part`
  part[team.thread] = sum;
  __syncthreads();
  if (team.thread < lanes)
    for (int t = team.thread + WARP; t < team.threads; t += WARP) sum += part[t];
  return sum;
}

// Whether this block is the last of `blocks` to come here. It then sees what the others' first warps have written.
DEVICE bool comes_last(Bits* counter, Size blocks, const Team& team) {
  SHARED(int, last, 1);
  if (team.thread < WARP) {
    __threadfence();
    __syncwarp();
    if (team.thread == 0) {
      last[0] = atomicAdd(counter, 1u) == blocks - 1;
      if (last[0]) *counter = 0;  // for the next launch
      __threadfence();
    }
  }
  __syncthreads();
  return last[0];
}

// For the columns first ... stop - 1: write(column, sum of value(row, column) over the rows). Each number goes to
// keep(row, column, number) as well. A block sums some neighbouring columns: its lanes read a part of a row together.
// If there are more blocks than that takes, several divide the rows of the same columns; the one that comes last adds
// their sums, in the order of the blocks. The sum of AHEAD numbers is of type T, and goes on in float64. One block that
// has few rows sums them all in type T.
template <class T, class Value, class Keep, class Write>
DEVICE void column_sums(Size rows, Size first, Size stop, Value value, Keep keep, Write write, const Team& team) {
  if (team.blocks == 1 && rows <= FEW) {  // no thread waits for another
    for (Size j = first + team.thread; j < stop; j += team.threads) {
      T sum = 0;
#pragma unroll 8
      for (Size i = 0; i < rows; ++i) {
        const T some = value(i, j);
        keep(i, j, some);
        sum += some;
      }
      write(j, sum);
    }
    return;
  }
  const int lanes = lanes_for(stop - first), lane = team.thread % lanes;
  const Size mine = team.thread / lanes, at_once = team.threads / lanes;  // rows
  const Size groups = (stop - first + lanes - 1) / lanes, parts = team.blocks > groups ? team.blocks / groups : 1;
  for (Size turn = team.block; turn < groups * parts; turn += team.blocks) {
    const Size group = turn / parts, j = first + group * lanes + lane, apart = parts * at_once;
    double sum = 0;
    for (Size i = turn % parts * at_once + mine; j < stop && i < rows; i += AHEAD * apart) {
      T some[AHEAD], total = 0;
#pragma unroll
      for (int k = 0; k < AHEAD; ++k) some[k] = value(i + k * apart < rows ? i + k * apart : i, j);
#pragma unroll
      for (int k = 0; k < AHEAD; ++k)
        if (i + k * apart < rows) keep(i + k * apart, j, some[k]), total += some[k];
      sum += total;
    }
    sum = sum_of_lanes(sum, lanes, team);
    if (parts > 1) {
      if (team.thread < lanes) team.room[turn * WARP + lane] = sum;
      if (!comes_last(team.counters + group, parts, team)) continue;
      sum = 0;
      for (Size part = mine; part < parts; part += at_once) sum += team.room[(group * parts + part) * WARP + lane];
      sum = sum_of_lanes(sum, lanes, team);
    }
    if (team.thread < lanes && j < stop) write(j, (T)sum);
  }
}

// For sums of numbers that are not needed themselves.
struct Nowhere {
  template <class T> DEVICE void operator()(Size, Size, T) const {}
};

#define FOR_EACH(i, n) for (Size i = team.rank(); i < (n); i += team.size())

// For each i below n: write(i, read(i)). It reads AHEAD values before it writes the first.
template <class Read, class Write> DEVICE void read_ahead(Size n, Read read, Write write, const Team& team) {
  const Size apart = team.size();
  for (Size i = team.rank(); i < n; i += AHEAD * apart) {
    decltype(read(i)) some[AHEAD];
#pragma unroll
    for (int k = 0; k < AHEAD; ++k) some[k] = read(i + k * apart < n ? i + k * apart : i);
#pragma unroll
    for (int k = 0; k < AHEAD; ++k)
      if (i + k * apart < n) write(i + k * apart, some[k]);
  }
}

namespace kernels {

// ---- rows -----------------------------------------------------------------------------------------------------------

struct alignas(16) Sixteen {  // bytes, which one instruction reads or writes
  Bits part[4];
};

// to (count, columns) <- these rows of `from`.
template <class Unit>
DEVICE void gather(Unit* to, const Unit* from, const Word* rows, Size count, Size columns, const Team& team) {
  auto read = [=](Size i) { return from[rows[i / columns] * columns + i % columns]; };
  read_ahead(count * columns, read, [=](Size i, Unit found) { to[i] = found; }, team);
}

template <class T>
DEVICE void take(Matrix<T> y, Matrix<T> x, Matrix<Word> order, Matrix<Word> position, const Team& team) {
  const Word *rows = order.data + position.data[0], bytes = y.columns * sizeof(T);
  if (((Word)y.data | (Word)x.data | bytes) % sizeof(Sixteen) == 0) {
    gather((Sixteen*)y.data, (const Sixteen*)x.data, rows, y.rows, bytes / (Word)sizeof(Sixteen), team);
  } else {
    gather(y.data, (const T*)x.data, rows, y.rows, y.columns, team);
  }
}

template <class T> DEVICE void take_rows(Line line, const Team& team) {
  Matrix<T> y = line.matrix<T>(), x = line.matrix<T>();
  Matrix<Word> order = line.vector<Word>(), position = line.vector<Word>();
#ifdef NNLITE_REPLAY
  FOR_EACH(i, y.size()) y.data[i] = x.row(order.data[position.data[0] + i / y.columns])[i % y.columns];
#else
  take(y, x, order, position, team);
#endif
}

// take_rows of x and of the target, in one launch.
template <class T> DEVICE void take_both(Line line, const Team& team) {
  Matrix<T> x = line.matrix<T>(), all_x = line.matrix<T>(), target = line.matrix<T>(), all_target = line.matrix<T>();
  Matrix<Word> order = line.vector<Word>(), position = line.vector<Word>();
  take(x, all_x, order, position, team);
  take(target, all_target, order, position, team);
}

template <class T> DEVICE void read_rows(Line line, const Team& team) {
  Matrix<T> y = line.matrix<T>(), x = line.matrix<T>();
  const T* from = x.row(line.vector<Word>().data[0]);
  FOR_EACH(i, y.size()) y.data[i] = from[i];
}

template <class T> DEVICE void write_rows(Line line, const Team& team) {
  Matrix<T> answer = line.matrix<T>(), y = line.matrix<T>();
  T* to = answer.row(line.vector<Word>().data[0]);
  FOR_EACH(i, y.size()) to[i] = y.data[i];
}

template <class T> DEVICE void finite_rows(Line line, const Team& team) {
  Matrix<T> zeros = line.vector<T>(), x = line.matrix<T>();
  for (Rows r(team, x.rows, x.columns); r.some(); r.next()) {
    const T* from = x.row(r.inside());
    T sum = 0;
    for (Size j = r.lane; j < x.columns; j += r.lanes) sum += from[j] * T(0);
    sum = warp_sum(sum, r.lanes);
    if (r.there() && r.lane == 0) zeros.data[r.row] = sum;
  }
}

template <class T> DEVICE void advance(Line line, const Team& team) {
  Matrix<Word> position = line.vector<Word>();
  const Size N = line.size();
  if (team.rank() == 0) position.data[0] += N;
}

// y <- y + b, after a product by cuBLAS.
template <class T> DEVICE void add_bias(Line line, const Team& team) {
  Matrix<T> y = line.matrix<T>(), b = line.vector<T>();
  auto sum = [=](Size i) { return y.data[i] + b.data[i % b.columns]; };
  read_ahead(y.size(), sum, [=](Size i, T value) { y.data[i] = value; }, team);
}

// ---- activations ----------------------------------------------------------------------------------------------------

// Makes two kernels: `name` for x, and `bias_name` for x + b, after a product by cuBLAS. `numbers` reads plain numbers.
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

// Makes two kernels: `name`, and `name_bias`, which also sums dx over the rows in the same pass: a bias's gradient.
// The array beside dy is `y` or `x`, whatever `kept` says.
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
    Matrix<T> dx = line.matrix<T>(), db = line.vector<T>();                                   \
    Matrix<T> of_dy = line.matrix<T>(), of_##kept = line.matrix<T>();                         \
    numbers;                                                                                  \
    auto made = [=](Size i, Size j) {                                                         \
      const T dy = of_dy.row(i)[j], kept = of_##kept.row(i)[j];                               \
      return (T)(formula);                                                                    \
    };                                                                                        \
    auto keep = [=](Size i, Size j, T made) { dx.row(i)[j] = made; };                         \
    auto write = [=](Size j, T sum) { db.data[j] = sum; };                                    \
    column_sums<T>(dx.rows, 0, dx.columns, made, keep, write, team);                          \
  }

#define FORWARD(name, formula) FORWARD_WITH(name, , formula)
#define BACKWARD(name, formula) BACKWARD_WITH(name, y, , formula)
#define NUMBER(name) const T name = (T)line.number()

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
BACKWARD_WITH(gelu_backward, x, ,
              dy * (normal_distribution(x) + x * T(0.39894228040143267794) * exp_of(T(-0.5) * x * x)))

FORWARD(gelu_tanh, T(0.5) * x * (T(1) + gelu_tanh_of(x)))
BACKWARD_WITH(gelu_tanh_backward, x, const T inside = T(0.79788456080286536); const T cubic = T(0.044715),
              T(0.5) * dy *
                  (T(1) + gelu_tanh_of(x) +
                   x * (T(1) - gelu_tanh_of(x) * gelu_tanh_of(x)) * inside * (T(1) + T(3) * cubic * x * x)))

FORWARD(silu, x * sigmoid_of(x))
BACKWARD_WITH(silu_backward, x, , dy * sigmoid_of(x) * (T(1) + x * (T(1) - sigmoid_of(x))))

FORWARD(mish, x * tanh_of(softplus_of(x)))
BACKWARD_WITH(mish_backward, x, ,
              dy * (tanh_of(softplus_of(x)) +
                    x * (T(1) - tanh_of(softplus_of(x)) * tanh_of(softplus_of(x))) * sigmoid_of(x)))

FORWARD(softsign, x / (T(1) + size_of(x)))
BACKWARD(softsign_backward, dy * (T(1) - size_of(y)) * (T(1) - size_of(y)))

FORWARD(hard_sigmoid, limited(x * T(1.0 / 6) + T(0.5), T(0), T(1)))
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

// ---- dropout: a hash of its place decides whether a number is dropped, so all devices drop the same -----------------

DEVICE Bits hash32(Bits x) {
  x = (x ^ (x >> 16)) * 0x21F0AAADu;
  x = (x ^ (x >> 15)) * 0xD35A2D97u;
  return x ^ (x >> 15);
}

template <class T> DEVICE void dropout(Line line, const Team& team) {
  Matrix<T> y = line.matrix<T>(), mask = line.matrix<T>(), x = line.matrix<T>();
  Matrix<Word> draws = line.vector<Word>();
  const Word key = line.size();
  const double rate = line.number();
  const Size first = line.size();
  const Bits seed = hash32(hash32((Bits)draws.data[0]) + (Bits)key) + (Bits)first * (Bits)x.columns;
  const Bits lowest = (Bits)(rate * 4294967296.0);
  const T kept = (T)(1 / (1 - rate));
  FOR_EACH(i, x.size()) {
    const T m = hash32(seed + (Bits)i) >= lowest ? kept : T(0);
    mask.data[i] = m;
    y.data[i] = x.data[i] * m;
  }
}

template <class T> DEVICE void gaussian_noise(Line line, const Team& team) {
  Matrix<T> y = line.matrix<T>(), x = line.matrix<T>();
  Matrix<Word> draws = line.vector<Word>();
  const Word key = line.size();
  const T scale = (T)(line.number() / 65536);
  const Size first = line.size();
  const Bits seed = hash32(hash32((Bits)draws.data[0]) + (Bits)key) + 6u * (Bits)first * (Bits)x.columns;
  FOR_EACH(i, x.size()) {
    Bits total = 0;  // of twelve numbers of 16 bits
    for (int k = 0; k < 6; ++k) {
      const Bits bits = hash32(seed + 6u * (Bits)i + (Bits)k);
      total += (bits >> 16) + (bits & 0xFFFFu);
    }
    y.data[i] = x.data[i] + ((T)total - T(6 * 65535)) * scale;
  }
}

// ---- a connection around layers -------------------------------------------------------------------------------------

template <class T> DEVICE void add(Line line, const Team& team) {
  Matrix<T> y = line.matrix<T>(), a = line.matrix<T>(), b = line.matrix<T>();
  FOR_EACH(i, y.size()) y.data[i] = a.data[i] + b.data[i];
}

// ---- losses: the lanes of a warp share a row ------------------------------------------------------------------------

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
LOSS_WITH(log_cosh, , const T size = size_of(p - t),
          size + log1p_of(exp_of(-size - size)) - T(0.69314718055994530942), scale * tanh_of(p - t))
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
      total += to[j] = exp_of(shifted);
      loss -= t[j] * shifted - entropy_of<RELATIVE>(t[j]);
      targets += t[j];
    }
    total = warp_sum(total, r.lanes), loss = warp_sum(loss, r.lanes), targets = warp_sum(targets, r.lanes);
    for (Size j = r.lane; r.there() && j < logits.columns; j += r.lanes) to[j] = scale * (to[j] / total - t[j]);
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
  if (team.thread == 0) count.data[0] = mean && sum > 0 ? (T)sum : T(1);
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
    for (Size j = r.lane; j < gradient.columns; j += r.lanes) to[j] = weight[1] * from[j];
    if (r.lane == 0) weighted.data[r.row] = weight[0] * losses.data[r.row];
  }
}

// ---- sums over an epoch, by one block -------------------------------------------------------------------------------

template <class T> DEVICE void add_losses(Line line, const Team& team) {
  Matrix<double> total = line.vector<double>();
  Matrix<T> losses = line.vector<T>();
  if (team.block > 0) return;
  const double sum = sum_of(losses.columns, [=](Size i) { return (double)losses.data[i]; }, team);
  if (team.thread == 0) total.data[0] += sum;
}

// Metrics leave out targets that are NaN. Only NaN is not equal to itself.

// sums[0] += the sum of `value` over all numbers of prediction and target, sums[1] += the count of these numbers.
#define ERRORS(name, value)                                                                  \
  template <class T> DEVICE void name(Line line, const Team& team) {                     \
    Matrix<double> sums = line.vector<double>();                                             \
    Matrix<T> prediction = line.matrix<T>(), target = line.matrix<T>();                      \
    if (team.block > 0) return;                                                              \
    double sum = 0, known = 0;                                                               \
    for (Size i = team.thread; i < prediction.size(); i += team.threads) {                   \
      const double error = prediction.data[i] - target.data[i];                              \
      if (target.data[i] == target.data[i]) sum += value, known += 1;                        \
    }                                                                                        \
    sum = block_sum(sum, team), known = block_sum(known, team);                              \
    if (team.thread == 0) sums.data[0] += sum, sums.data[1] += known;                        \
  }

ERRORS(add_absolute_errors, size_of(error))
ERRORS(add_squared_errors, error * error)

template <class T> DEVICE void add_hits(Line line, const Team& team) {
  Matrix<double> sums = line.vector<double>();
  Matrix<T> prediction = line.matrix<T>(), target = line.matrix<T>();
  if (team.block > 0) return;
  double hits = 0, known = 0;
  for (Size i = team.thread; i < prediction.rows; i += team.threads) {
    const T *p = prediction.row(i), *t = target.row(i);
    Size found = 0, expected = 0;
    for (Size j = 1; j < prediction.columns; ++j) {
      if (p[j] > p[found]) found = j;
      if (t[j] > t[expected]) expected = j;
    }
    if (t[0] == t[0]) hits += found == expected, known += 1;
  }
  hits = block_sum(hits, team), known = block_sum(known, team);
  if (team.thread == 0) sums.data[0] += hits, sums.data[1] += known;
}

template <class T> DEVICE void add_sides(Line line, const Team& team) {
  Matrix<double> sums = line.vector<double>();
  Matrix<T> prediction = line.matrix<T>(), target = line.matrix<T>();
  if (team.block > 0) return;
  double of_half = 0, of_zero = 0, below = 0, known = 0;
  for (Size i = team.thread; i < prediction.size(); i += team.threads) {
    const T p = prediction.data[i], t = target.data[i];
    if (t != t) continue;
    of_half += (p > T(0.5)) == (t > T(0.5)), of_zero += (p > 0) == (t > 0), below += t < 0, known += 1;
  }
  of_half = block_sum(of_half, team), of_zero = block_sum(of_zero, team);
  below = block_sum(below, team), known = block_sum(known, team);
  if (team.thread == 0) sums.data[0] += of_half, sums.data[1] += of_zero, sums.data[2] += below, sums.data[3] += known;
}

// Whether column j has the first of the largest numbers of a row.
template <class T> DEVICE bool is_largest(const T* row, Size j, Size columns) {
  for (Size k = 0; k < columns; ++k) {
    if (row[k] > row[j] || (k < j && row[k] == row[j])) return false;
  }
  return true;
}

template <class T> DEVICE void add_confusions(Line line, const Team& team) {
  Matrix<double> sums = line.matrix<double>();
  Matrix<T> prediction = line.matrix<T>(), target = line.matrix<T>();
  const bool classes = line.number() != 0;
  if (team.block > 0) return;
  for (Size j = 0; j < prediction.columns; ++j) {
    double counts[7] = {0, 0, 0, 0, 0, 0, 0};
    for (Size i = team.thread; i < prediction.rows; i += team.threads) {
      const T *p = prediction.row(i), *t = target.row(i);
      const T first = classes ? t[0] : t[j];
      if (first != first) continue;
      const bool largest = classes && is_largest(p, j, prediction.columns);
      const bool high = classes ? largest : p[j] > T(0.5), above = classes ? largest : p[j] > 0;
      const bool is_true = classes ? is_largest(t, j, target.columns) : t[j] > T(0.5);
      counts[0] += is_true && high, counts[1] += is_true && above, counts[2] += high, counts[3] += above;
      counts[4] += is_true, counts[5] += !classes && t[j] < 0, counts[6] += 1;
    }
    for (int k = 0; k < 7; ++k) {
      const double count = block_sum(counts[k], team);
      if (team.thread == 0) sums.row(k)[j] += count;
    }
  }
}

template <class T> DEVICE void add_spreads(Line line, const Team& team) {
  Matrix<double> sums = line.matrix<double>();
  Matrix<T> prediction = line.matrix<T>(), target = line.matrix<T>();
  if (team.block > 0) return;
  for (Size j = 0; j < prediction.columns; ++j) {
    const double before = sums.row(4)[j], mean = sums.row(2)[j];
    double first = sums.row(1)[j];
    for (Size i = 0; before == 0 && i < target.rows; ++i) {
      first = target.row(i)[j];
      if (first == first) break;
    }
    double errors = 0, total = 0, squares = 0, known = 0;
    for (Size i = team.thread; i < prediction.rows; i += team.threads) {
      const double t = target.row(i)[j], error = t - prediction.row(i)[j], d = t - first - mean;
      if (t == t) errors += error * error, total += d, squares += d * d, known += 1;
    }
    // When the first block_sum returns, all threads have read the sums, so thread 0 may write them.
    errors = block_sum(errors, team), total = block_sum(total, team), squares = block_sum(squares, team);
    const double count = before + block_sum(known, team);
    if (team.thread == 0 && count > 0) {
      sums.row(0)[j] += errors, sums.row(1)[j] = first, sums.row(2)[j] = mean + total / count;
      sums.row(3)[j] += squares - total * total / count, sums.row(4)[j] = count;
    }
  }
}

// ---- optimizers -----------------------------------------------------------------------------------------------------

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

// ---- normalization --------------------------------------------------------------------------------------------------

template <class T> DEVICE void scale_shift(Line line, const Team& team) {
  Matrix<T> y = line.matrix<T>(), x = line.matrix<T>(), gamma = line.vector<T>(), beta = line.vector<T>();
  FOR_EACH(i, y.size()) y.data[i] = x.data[i] * gamma.data[i % y.columns] + beta.data[i % y.columns];
}

template <class T> DEVICE void scale_shift_backward(Line line, const Team& team) {
  Matrix<T> dx = line.matrix<T>(), products = line.matrix<T>();
  Matrix<T> dy = line.matrix<T>(), x = line.matrix<T>(), gamma = line.vector<T>();
  FOR_EACH(i, dx.size()) {
    dx.data[i] = dy.data[i] * gamma.data[i % dx.columns];
    products.data[i] = dy.data[i] * x.data[i];
  }
}

// A launch makes a kernel of two sums over the rows as two kernels, since its blocks do not wait for each other.
template <class T> DEVICE void batch_mean(Line line, const Team& team) {
  Matrix<T> mean = line.vector<T>(), variance = line.vector<T>(), inverse = line.vector<T>(), x = line.matrix<T>();
  line.number();
  const Size first = line.size(), stop = line.size();
  const T share = (T)(1.0 / x.rows);
  auto write = [=](Size j, T sum) { mean.data[j] = share * sum; };
  column_sums<T>(x.rows, first, stop, [=](Size i, Size j) { return x.row(i)[j]; }, Nowhere(), write, team);
}

template <class T> DEVICE void batch_variance(Line line, const Team& team) {
  Matrix<T> mean = line.vector<T>(), variance = line.vector<T>(), inverse = line.vector<T>(), x = line.matrix<T>();
  const double epsilon = line.number();
  const Size first = line.size(), stop = line.size();
  const T share = (T)(1.0 / x.rows);
  auto square = [=](Size i, Size j) {
    const T d = x.row(i)[j] - mean.data[j];
    return d * d;
  };
  auto write = [=](Size j, T sum) {
    variance.data[j] = share * sum;
    inverse.data[j] = (T)(1 / sqrt(share * sum + epsilon));
  };
  column_sums<T>(x.rows, first, stop, square, Nowhere(), write, team);
}

template <class T> DEVICE void batch_moments(Line line, const Team& team) {
  batch_mean<T>(line, team);
  __syncthreads();  // the other threads of the block read the means that its first threads have written
  batch_variance<T>(line, team);
}

template <class T> DEVICE void inverse_deviation(Line line, const Team& team) {
  Matrix<T> inverse = line.vector<T>(), variance = line.vector<T>();
  const T epsilon = (T)line.number();
  FOR_EACH(i, inverse.columns) inverse.data[i] = T(1) / root_of(variance.data[i] + epsilon);
}

template <class T> DEVICE void follow_moments(Line line, const Team& team) {
  Matrix<T> running_mean = line.vector<T>(), running_variance = line.vector<T>();
  Matrix<T> mean = line.vector<T>(), variance = line.vector<T>();
  const T momentum = (T)line.number(), unbiased = (T)line.number();
  FOR_EACH(i, mean.columns) {
    running_mean.data[i] += momentum * (mean.data[i] - running_mean.data[i]);
    running_variance.data[i] += momentum * (unbiased * variance.data[i] - running_variance.data[i]);
  }
}

template <class T> DEVICE void batch_norm(Line line, const Team& team) {
  Matrix<T> y = line.matrix<T>(), x = line.matrix<T>(), mean = line.vector<T>(), inverse = line.vector<T>();
  FOR_EACH(i, y.size()) y.data[i] = (x.data[i] - mean.data[i % y.columns]) * inverse.data[i % y.columns];
}

template <class T> DEVICE void batch_norm_mean_dy(Line line, const Team& team) {
  Matrix<T> mean_dy = line.vector<T>(), mean_product = line.vector<T>(), dy = line.matrix<T>(), y = line.matrix<T>();
  const T share = (T)line.number();
  const Size first = line.size(), stop = line.size();
  auto write = [=](Size j, T sum) { mean_dy.data[j] = share * sum; };
  column_sums<T>(y.rows, first, stop, [=](Size i, Size j) { return dy.row(i)[j]; }, Nowhere(), write, team);
}

template <class T> DEVICE void batch_norm_mean_product(Line line, const Team& team) {
  Matrix<T> mean_dy = line.vector<T>(), mean_product = line.vector<T>(), dy = line.matrix<T>(), y = line.matrix<T>();
  const T share = (T)line.number();
  const Size first = line.size(), stop = line.size();
  auto write = [=](Size j, T sum) { mean_product.data[j] = share * sum; };
  auto product = [=](Size i, Size j) { return dy.row(i)[j] * y.row(i)[j]; };
  column_sums<T>(y.rows, first, stop, product, Nowhere(), write, team);
}

template <class T> DEVICE void batch_norm_means(Line line, const Team& team) {
  batch_norm_mean_dy<T>(line, team);
  batch_norm_mean_product<T>(line, team);
}

template <class T> DEVICE void batch_norm_backward(Line line, const Team& team) {
  Matrix<T> dx = line.matrix<T>(), dy = line.matrix<T>(), y = line.matrix<T>();
  Matrix<T> inverse = line.vector<T>(), mean_dy = line.vector<T>(), mean_product = line.vector<T>();
  FOR_EACH(i, dx.size()) {
    const Size j = i % dx.columns;
    dx.data[i] = inverse.data[j] * (dy.data[i] - mean_dy.data[j] - y.data[i] * mean_product.data[j]);
  }
}

template <class T> DEVICE void layer_norm(Line line, const Team& team) {
  Matrix<T> y = line.matrix<T>(), inverse = line.vector<T>(), x = line.matrix<T>();
  const T epsilon = (T)line.number();
  for (Rows r(team, y.rows, y.columns); r.some(); r.next()) {
    const T* from = x.row(r.inside());
    T total = 0, squares = 0;
    for (Size j = r.lane; j < y.columns; j += r.lanes) total += from[j];
    const T mean = warp_sum(total, r.lanes) / y.columns;
    for (Size j = r.lane; j < y.columns; j += r.lanes) squares += (from[j] - mean) * (from[j] - mean);
    const T scale = T(1) / root_of(warp_sum(squares, r.lanes) / y.columns + epsilon);
    for (Size j = r.lane; r.there() && j < y.columns; j += r.lanes) y.row(r.row)[j] = (from[j] - mean) * scale;
    if (r.there() && r.lane == 0) inverse.data[r.row] = scale;
  }
}

template <class T> DEVICE void layer_norm_backward(Line line, const Team& team) {
  Matrix<T> dx = line.matrix<T>(), dy = line.matrix<T>(), y = line.matrix<T>(), inverse = line.vector<T>();
  for (Rows r(team, y.rows, y.columns); r.some(); r.next()) {
    const T *of_dy = dy.row(r.inside()), *of_y = y.row(r.inside());
    T total = 0, products = 0;
    for (Size j = r.lane; j < y.columns; j += r.lanes) total += of_dy[j], products += of_dy[j] * of_y[j];
    total = warp_sum(total, r.lanes) / y.columns, products = warp_sum(products, r.lanes) / y.columns;
    for (Size j = r.lane; r.there() && j < y.columns; j += r.lanes)
      dx.row(r.row)[j] = inverse.data[r.row] * (of_dy[j] - total - of_y[j] * products);
  }
}

// ---- what all optimizers share: limits, decay, averages, and rates of a schedule --------------------------------------

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
