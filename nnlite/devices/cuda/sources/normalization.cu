// Normalization: over a batch, whose sums go through its rows, and over the numbers of a row.

namespace kernels {

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

}  // namespace kernels
