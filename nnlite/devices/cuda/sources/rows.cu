// The rows of the data that a step takes or writes, and additions that are kernels of their own.

namespace kernels {

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

// A connection around layers.
template <class T> DEVICE void add(Line line, const Team& team) {
  Matrix<T> y = line.matrix<T>(), a = line.matrix<T>(), b = line.matrix<T>();
  FOR_EACH(i, y.size()) y.data[i] = a.data[i] + b.data[i];
}

}  // namespace kernels
