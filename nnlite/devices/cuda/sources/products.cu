// Matrix products, C <- S + alpha A B, in two ways. In the persistent replay, each block makes its own part, whose
// operands are small and near. In a launch of its own, a product is made by many blocks: each makes tiles of C, from
// parts of A and B that it copies into shared memory.

// C, S (rows, columns) . A (rows, inner) . B (inner, columns). A `..._row` is the distance, in numbers, to the next
// row, and a `..._step` is the distance to the next number in a row.
template <class T>
struct Product {
  T* c;
  const T* s;  // added to the product, or null for nothing
  const T *a, *b;
  Word rows, inner, columns;
  Word c_row, s_row, a_row, a_step, b_row, b_step;
  T alpha;

  __device__ void write(Word i, Word j, T sum) const {
    c[i * c_row + j] = (s ? s[i * s_row + j] : T(0)) + alpha * sum;
  }
};

// ---- by one block ---------------------------------------------------------------------------------------------------

// Every thread makes squares of C with `side` x `side` numbers.
template <int side, class T>
__device__ void squares(const Product<T>& p, const Team& team) {
  const Word across = (p.columns + side - 1) / side, down = (p.rows + side - 1) / side;
  for (Word square = team.thread; square < down * across; square += team.threads) {
    const Word i = square / across * side, j = square % across * side;
    const T *a[side], *b[side];
    T sum[side][side];
    for (int k = 0; k < side; ++k) {  // past the end, the last row or column again: it is not written
      a[k] = p.a + (i + k < p.rows ? i + k : p.rows - 1) * p.a_row;
      b[k] = p.b + (j + k < p.columns ? j + k : p.columns - 1) * p.b_step;
      for (int l = 0; l < side; ++l) sum[k][l] = 0;
    }
#pragma unroll 4
    for (Word n = 0; n < p.inner; ++n) {
      T of_b[side];
      for (int l = 0; l < side; ++l) of_b[l] = b[l][n * p.b_row];
      for (int k = 0; k < side; ++k) {
        const T of_a = a[k][n * p.a_step];
        for (int l = 0; l < side; ++l) sum[k][l] += of_a * of_b[l];
      }
    }
    for (int k = 0; k < side && i + k < p.rows; ++k)
      for (int l = 0; l < side && j + l < p.columns; ++l) p.write(i + k, j + l, sum[k][l]);
  }
}

// For fewer numbers than threads: several threads add parts of each sum, and one of them adds the parts.
template <class T>
__device__ void shared_sums(const Product<T>& p, const Team& team) {
  SHARED(T, part, MOST_THREADS);
  const int count = (int)(p.rows * p.columns), most = team.threads / count;
  const int parts = p.inner < most ? (p.inner > 0 ? (int)p.inner : 1) : most;
  const int of_c = team.thread % count, mine = team.thread / count;
  const Word i = of_c / p.columns, j = of_c % p.columns;
  __syncthreads();  // until all threads have read the former contents of `part`
  if (mine < parts) {
    const T *a = p.a + i * p.a_row, *b = p.b + j * p.b_step;
    T sum = 0;
#pragma unroll 8
    for (Word n = mine; n < p.inner; n += parts) sum += a[n * p.a_step] * b[n * p.b_row];
    part[team.thread] = sum;
  }
  __syncthreads();
  if (mine == 0) {
    T sum = 0;
    for (int k = 0; k < parts; ++k) sum += part[k * count + of_c];
    p.write(i, j, sum);
  }
}

template <class T>
__device__ void near_product(const Product<T>& p, const Team& team) {
  const Word count = p.rows * p.columns;
  if (2 * count <= team.threads) {
    if (count > 0) shared_sums(p, team);
  } else if (count >= 16 * team.threads) {
    squares<4>(p, team);
  } else if (count >= 4 * team.threads) {
    squares<2>(p, team);
  } else {
    squares<1>(p, team);
  }
}

// ---- by many blocks -------------------------------------------------------------------------------------------------

const int TILE = 64, DEPTH = 16, SIDE = 4;  // a block of 256 threads makes a tile, and each thread a square in it

template <class T>
__device__ void tiled_product(const Product<T>& p, const Team& team) {
  SHARED(T, tile_a, DEPTH*(TILE + 1));
  SHARED(T, tile_b, DEPTH*(TILE + 1));
  const int side = TILE / SIDE, y = team.thread / side * SIDE, x = team.thread % side;
  const Word across = (p.columns + TILE - 1) / TILE, down = (p.rows + TILE - 1) / TILE;
  for (Word tile = team.block; tile < down * across; tile += team.blocks) {
    const Word top = tile / across * TILE, left = tile % across * TILE;
    T sum[SIDE][SIDE] = {};
    for (Word start = 0; start < p.inner; start += DEPTH) {
      for (int k = team.thread; k < TILE * DEPTH; k += team.threads) {
        // neighbouring threads read neighbouring numbers
        int i = p.a_step == 1 ? k / DEPTH : k % TILE, n = p.a_step == 1 ? k % DEPTH : k / TILE;
        bool there = top + i < p.rows && start + n < p.inner;
        tile_a[n * (TILE + 1) + i] = there ? p.a[(top + i) * p.a_row + (start + n) * p.a_step] : T(0);
        i = p.b_step == 1 ? k % TILE : k / DEPTH, n = p.b_step == 1 ? k / TILE : k % DEPTH;
        there = left + i < p.columns && start + n < p.inner;
        tile_b[n * (TILE + 1) + i] = there ? p.b[(start + n) * p.b_row + (left + i) * p.b_step] : T(0);
      }
      __syncthreads();
      for (int n = 0; n < DEPTH; ++n) {
        T of_b[SIDE];
        for (int l = 0; l < SIDE; ++l) of_b[l] = tile_b[n * (TILE + 1) + x + l * side];
        for (int k = 0; k < SIDE; ++k) {
          const T of_a = tile_a[n * (TILE + 1) + y + k];
          for (int l = 0; l < SIDE; ++l) sum[k][l] += of_a * of_b[l];
        }
      }
      __syncthreads();
    }
    for (int k = 0; k < SIDE; ++k)
      for (int l = 0; l < SIDE; ++l) {
        const Word i = top + y + k, j = left + x + l * side;
        if (i < p.rows && j < p.columns) p.write(i, j, sum[k][l]);
      }
  }
}

template <class T>
__device__ void make(const Product<T>& p, const Team& team) {
#ifdef NNLITE_REPLAY
  near_product(p, team);
#else
  tiled_product(p, team);
#endif
}

// ---- the kernels ----------------------------------------------------------------------------------------------------
// Each computes only first ... stop - 1, the line's last two numbers: columns of y, dx or db, or rows of dW.

namespace kernels {

template <class T>
__device__ void linear_from(Matrix<T> y, Matrix<T> x, Matrix<T> W, const T* b, Line line, const Team& team) {
  const Word first = line.size(), stop = line.size();
  const Product<T> p = {y.data + first, b ? b + first : b, x.data, W.data + first, y.rows, x.columns, stop - first,
                        y.columns, 0, x.columns, 1, W.columns, 1, T(1)};
  make(p, team);
}

template <class T> __device__ void linear(Line line, const Team& team) {
  Matrix<T> y = line.matrix<T>(), x = line.matrix<T>(), W = line.matrix<T>(), b = line.vector<T>();
  linear_from(y, x, W, (const T*)b.data, line, team);
}

template <class T> __device__ void matmul(Line line, const Team& team) {
  Matrix<T> y = line.matrix<T>(), x = line.matrix<T>(), W = line.matrix<T>();
  linear_from(y, x, W, (const T*)0, line, team);
}

template <class T> __device__ void linear_backward(Line line, const Team& team) {
  Matrix<T> dx = line.matrix<T>(), dy = line.matrix<T>(), W = line.matrix<T>();
  const Word first = line.size(), stop = line.size();
  const Product<T> p = {dx.data + first, 0, dy.data, W.row(first), dx.rows, dy.columns, stop - first,
                        dx.columns, 0, dy.columns, 1, 1, W.columns, T(1)};
  make(p, team);
}

// The rows first ... stop - 1 of C <- S + alpha x' dy; S is C if `adding`, or else nothing.
template <class T>
__device__ void weights(Matrix<T> C, bool adding, Matrix<T> dy, Matrix<T> x, T alpha, Line line, const Team& team) {
  const Word first = line.size(), stop = line.size();
  const Product<T> p = {C.row(first), adding ? C.row(first) : 0, x.data + first, dy.data, stop - first, dy.rows,
                        C.columns, C.columns, C.columns, 1, x.columns, dy.columns, 1, alpha};
  make(p, team);
}

template <class T> __device__ void linear_backward_weights(Line line, const Team& team) {
  Matrix<T> dW = line.matrix<T>(), dy = line.matrix<T>(), x = line.matrix<T>();
  weights(dW, false, dy, x, T(1), line, team);
}

template <class T> __device__ void linear_backward_weights_sgd(Line line, const Team& team) {
  Matrix<T> W = line.matrix<T>(), dy = line.matrix<T>(), x = line.matrix<T>(), lr = line.vector<T>();
  weights(W, true, dy, x, -lr.data[0], line, team);
}

// The columns first ... stop - 1 of b <- s + alpha (sum of the rows of dy); s is b if `adding`, or else nothing.
template <class T> __device__ void add_rows(T* b, bool adding, Matrix<T> dy, T alpha, Line line, const Team& team) {
  const Word first = line.size(), stop = line.size();
  auto write = [=](Word j, T sum) { b[j] = (adding ? b[j] : T(0)) + alpha * sum; };
  column_sums<T>(dy.rows, first, stop, [=](Word i, Word j) { return dy.row(i)[j]; }, Nowhere(), write, team);
}

template <class T> __device__ void linear_backward_bias(Line line, const Team& team) {
  Matrix<T> db = line.vector<T>(), dy = line.matrix<T>();
  add_rows(db.data, false, dy, T(1), line, team);
}

template <class T> __device__ void linear_backward_bias_sgd(Line line, const Team& team) {
  Matrix<T> b = line.vector<T>(), dy = line.matrix<T>(), lr = line.vector<T>();
  add_rows(b.data, true, dy, -lr.data[0], line, team);
}

}  // namespace kernels
