// The rows of the data that a step takes or writes, and additions that are kernels of their own.

namespace kernels {

struct alignas(16) Sixteen {  // bytes, which one instruction reads or writes
  Bits part[4];
};

// The first `columns` numbers of each row of `to` <- those of these rows of `from`.
template <class Unit>
DEVICE void gather(Unit* to, Size to_row, const Unit* from, Size from_row, const Word* rows, Size count, Size columns,
                   const Team& team) {
  auto read = [=](Size i) { return from[rows[i / columns] * from_row + i % columns]; };
  auto write = [=](Size i, Unit found) { to[i / columns * to_row + i % columns] = found; };
  read_ahead(count * columns, read, write, team);
}

// The columns from `left` on of y <- `columns` of those from `first` on of the next rows of x.
template <class T>
DEVICE void take(Matrix<T> y, Size left, Matrix<T> x, Size first, Size columns, const Word* rows, const Team& team) {
  const Word many = sizeof(Sixteen) / sizeof(T);
  const bool fit = (left | first | columns | y.columns | x.columns) % many == 0;
  if (fit && ((Word)y.data | (Word)x.data) % sizeof(Sixteen) == 0) {
    const Sixteen* from = (const Sixteen*)(x.data + first);
    gather((Sixteen*)(y.data + left), y.columns / many, from, x.columns / many, rows, y.rows, columns / many, team);
  } else {
    gather(y.data + left, y.columns, x.data + first, x.columns, rows, y.rows, columns, team);
  }
}

// How a call takes rows, by the order and the position that come next in its line: at once.
struct AtOnce {
  template <class T>
  DEVICE void take(Matrix<T> y, Size left, Matrix<T> x, Size first, Size columns, Line line, const Team& team) const {
    const Word* order = line.vector<Word>().data;
    kernels::take(y, left, x, first, columns, order + line.vector<Word>().data[0], team);
  }
};

#ifdef NNLITE_REPLAY
// What a thread keeps in registers of the batches to come. A unit is a number, or sixteen bytes of numbers.
template <class Unit, int most>
struct Upcoming {
  Word step = -1, position = 0;  // of the next batch
  Unit units[most];              // of the next batch
  Word rows[most];               // of the data, for the batch after it
};

// Or a step ahead: each thread keeps its units of the next batch, and reads which rows come after it, while the step is
// computed. So no step waits for the memory, which else gives three answers one after the other: where the batch is,
// which rows are in it, and the rows. The whole batch has `batch` rows, of which this block may take some.
template <class Unit, int most>
struct Ahead {
  Upcoming<Unit, most>& next;
  Size batch;
  Word step;

  template <class T>
  DEVICE void take(Matrix<T> y, Size left, Matrix<T> x, Size first, Size columns, Line line, const Team& team) const {
    const Size many = sizeof(Unit) / sizeof(T), across = columns / many, count = y.rows * across;
    // an array of the user's may begin anywhere
    if ((Word)x.data % sizeof(Unit)) return AtOnce().take(y, left, x, first, columns, line, team);
    const Word last = line.length() - batch;
    const Word *order = line.vector<Word>().data, *position = line.vector<Word>().data;
    const Unit* from = (const Unit*)(x.data + first);
    Unit* to = (Unit*)(y.data + left);
    const Size to_row = y.columns / many, from_row = x.columns / many;
    auto there = [&](int k) { return team.thread + k * team.threads < count; };
    auto mine = [&](int k) { return there(k) ? team.thread + k * team.threads : count - 1; };
    auto row = [&](Word at, int k) {  // past the end of the order, of the last batch: it is not used
      return order[(at < last ? at : last) + mine(k) / across];
    };
    auto go_on = [&] {
#pragma unroll
      for (int k = 0; k < most; ++k) next.units[k] = from[next.rows[k] * from_row + mine(k) % across];
#pragma unroll
      for (int k = 0; k < most; ++k) next.rows[k] = row(next.position + batch, k);
    };
    if (next.step != step) {  // the first step, or the one after a short batch
      next.position = *position;
#pragma unroll
      for (int k = 0; k < most; ++k) next.rows[k] = row(next.position, k);
      go_on();
    }
#pragma unroll
    for (int k = 0; k < most; ++k)
      if (there(k)) to[mine(k) / across * to_row + mine(k) % across] = next.units[k];
    next.step = step + 1, next.position += batch;
    go_on();
  }
};

template <class Unit, int most> DEVICE Ahead<Unit, most> ahead(Upcoming<Unit, most>& next, Size batch, Word step) {
  return {next, batch, step};
}
#endif

template <class T, class How = AtOnce> DEVICE void take_rows(Line line, const Team& team, How how = How()) {
  Matrix<T> y = line.matrix<T>(), x = line.matrix<T>();
  how.take(y, 0, x, 0, y.columns, line, team);
}

// take_rows of x and of the target, in one launch.
template <class T> DEVICE void take_both(Line line, const Team& team) {
  Matrix<T> x = line.matrix<T>(), all_x = line.matrix<T>(), target = line.matrix<T>(), all_target = line.matrix<T>();
  Matrix<Word> order = line.vector<Word>(), position = line.vector<Word>();
  const Word* rows = order.data + position.data[0];
  take(x, 0, all_x, 0, x.columns, rows, team);
  take(target, 0, all_target, 0, target.columns, rows, team);
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
  if (team.rank() != team.size() - 1) return;
#ifdef NNLITE_REPLAY
  if (NNLITE_BLOCKS > 1) return add_far(position.data, N);  // without waiting for what was there
#endif
  position.data[0] += N;
}

// y <- y + b, after a product by cuBLAS.
template <class T> DEVICE void add_bias(Line line, const Team& team) {
  Matrix<T> y = line.matrix<T>(), b = line.vector<T>();
  auto sum = [=](Size i) { return y.data[i] + b.data[i % b.columns]; };
  read_ahead(y.size(), sum, [=](Size i, T value) { y.data[i] = value; }, team);
}

// y <- x transposed. Squares of both go through shared memory, so that neighbouring threads read and write neighbours.
template <class T> DEVICE void transpose(Line line, const Team& team) {
  SHARED(T, square, WARP*(WARP + 1));
  Matrix<T> y = line.matrix<T>(), x = line.matrix<T>();
  const Size across = (x.columns + WARP - 1) / WARP, down = (x.rows + WARP - 1) / WARP;
  for (Size turn = team.block; turn < across * down; turn += team.blocks) {
    const Size top = turn / across * WARP, left = turn % across * WARP;
    __syncthreads();  // until all threads have read the former contents of `square`
    for (int k = team.thread / WARP; k < WARP; k += team.threads / WARP)
      if (top + k < x.rows && left + team.lane() < x.columns)
        square[k * (WARP + 1) + team.lane()] = x.row(top + k)[left + team.lane()];
    __syncthreads();
    for (int k = team.thread / WARP; k < WARP; k += team.threads / WARP)
      if (left + k < x.columns && top + team.lane() < x.rows)
        y.row(left + k)[top + team.lane()] = square[team.lane() * (WARP + 1) + k];
  }
}

// A connection around layers.
template <class T> DEVICE void add(Line line, const Team& team) {
  Matrix<T> y = line.matrix<T>(), a = line.matrix<T>(), b = line.matrix<T>();
  FOR_EACH(i, y.size()) y.data[i] = a.data[i] + b.data[i];
}

}  // namespace kernels
