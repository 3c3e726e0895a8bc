// Sums over an epoch, for the loss and for metrics: each is made by one block.

namespace kernels {

template <class T> DEVICE void add_losses(Line line, const Team& team) {
  Matrix<double> total = line.vector<double>();
  Matrix<T> losses = line.vector<T>();
  if (team.block > 0) return;
  const double sum = sum_of(losses.columns, [=](Size i) { return (double)losses.data[i]; }, team);
  if (team.thread == team.threads - 1) total.data[0] += sum;
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

}  // namespace kernels
