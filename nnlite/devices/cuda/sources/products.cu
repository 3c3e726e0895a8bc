// Matrix products, C <- S + alpha A B, in two ways. In the persistent replay, each block makes its own part, whose
// operands are small and near. In a launch of its own, a product is made by many blocks. One of few columns is too
// small for cuBLAS to be fast; the others are made here only where there is no cuBLAS.

// C, S (rows, columns) . A (rows, inner) . B (inner, columns). A `..._row` is the distance, in numbers, to the next
// row, and a `..._step` is the distance to the next number in a row.
template <class T, class Then = kernels::as_it_is<T>>
struct Product {
  T* c;
  const T* s;  // added to the product, or null for nothing
  const T *a, *b;
  Size rows, inner, columns;
  Size c_row, s_row, a_row, a_step, b_row, b_step;
  T alpha;
  bool fours;  // whether numbers of A that follow each other in memory can be read four at a time, with none left over
  Then then;   // what becomes of a number of C before it is written

  DEVICE void write(Size i, Size j, T sum) const {
    c[i * c_row + j] = then((s ? s[i * s_row + j] : T(0)) + alpha * sum, i, j);
  }
};

template <class T>
struct alignas(16) Four {
  T number[4];
};

template <class T>
DEVICE bool in_fours(const T* place, Size row) {
  return (Word)place % alignof(Four<T>) == 0 && row % 4 == 0;
}

#ifdef NNLITE_REPLAY
// ---- by one block ---------------------------------------------------------------------------------------------------
//
// In shared memory, the 32 lanes of a warp read at once what lies in 32 banks or is one number; two numbers that lie a
// multiple of 32 apart are read one after the other. Four numbers that follow each other take one instruction.

const int MOST_NEAR = 512;  // threads of a block
const int PART = 16;        // the least of the inner size that is worth a warp of its own

// Whether each lane can make four neighbours in a row of C, with none left over, and read and write them at once.
template <class T, class Then>
DEVICE bool in_fours(const Product<T, Then>& p) {
  const bool even = p.columns % (4 * lanes_for((p.columns + 3) / 4)) == 0;
  return even && p.b_step == 1 && in_fours(p.b, p.b_row) && in_fours(p.c, p.c_row) && in_fours(p.s, p.s_row);
}

template <class T, class Then>
DEVICE void write_four(const Product<T, Then>& p, Size i, Size j, const T* sum) {
  Four<T> four = {};
  if (p.s) four = *(const Four<T>*)(p.s + i * p.s_row + j);
  for (int l = 0; l < 4; ++l) four.number[l] = p.then(four.number[l] + p.alpha * sum[l], i, j + l);
  *(Four<T>*)(p.c + i * p.c_row + j) = four;
}

// Adds the sums (count,) of `parts` neighbouring warps; the first of them gets the result. All threads of a block come.
template <int count, class T>
DEVICE void add_parts(T* sums, int part, int parts, const Team& team) {
  T* others = (T*)scratch();
  const int at_once = SCRATCH * (int)(sizeof(double) / sizeof(T)) / MOST_NEAR;
#pragma unroll
  for (int first = 0; first < count; first += at_once) {
    __syncthreads();  // until all threads have read the former contents of `others`
#pragma unroll
    for (int k = first; k < count && k < first + at_once; ++k) others[(k - first) * MOST_NEAR + team.thread] = sums[k];
    __syncthreads();
    for (int from = 1; part == 0 && from < parts; ++from)
#pragma unroll
      for (int k = first; k < count && k < first + at_once; ++k)
        sums[k] += others[(k - first) * MOST_NEAR + team.thread + from * WARP];
  }
}

// Whether, of so many numbers at equal distances, some lie in the same bank.
DEVICE bool share_banks(Size apart, int count) { return count > 1 && (apart & -apart) * count > WARP; }

// A warp makes a tile of C: its lanes are `wide` neighbours in a row times `high` rows, and every thread makes `down` x
// `across` numbers, which lie as many rows or columns apart; in global memory, four may be neighbours in a row. Where
// there are more warps than tiles, several warps add parts of the sums of a tile, and one of them adds the parts.
//
// The lanes read one row of A, or several, four numbers at once where eight lanes read the same. Rows of A, or those of
// B where that is transposed, may lie in the same bank: then lanes begin their sums at different numbers. The cycles
// that this takes are counted by tests/devices/cuda/conflicts.py.
template <int down, int across, class T, class Then>
DEVICE void tiles(const Product<T, Then>& p, const Team& team) {
  const int lane = team.lane(), warp = team.thread / WARP, warps = team.threads / WARP;
  const int wide = lanes_for((p.columns + across - 1) / across), halvings = halvings_of(wide);
  const int high = WARP >> halvings, x = lane & (wide - 1), y = lane >> halvings;
  const bool fours_in_row = p.fours && p.a_step == 1 && p.b_step == 1 && high <= 4;
  const bool turns = p.a_step == 1 && !fours_in_row && (share_banks(p.a_row, high) || share_banks(p.b_step, wide));
  const bool fours_in_column = p.fours && high == 1 && p.a_row == 1;
  const bool whole = p.rows % (high * down) == 0 && p.columns % (wide * across) == 0;  // all tiles lie within C
  const bool neighbours = NNLITE_BLOCKS > 1 && across == 4 && in_fours(p);
  const Size apart = neighbours ? 1 : wide;
  const Size in_row = (p.columns + wide * across - 1) / (wide * across);
  const Size count = (p.rows + high * down - 1) / (high * down) * in_row;
  int parts = 1;
  while (2 * parts * count <= warps && 2 * parts * PART <= p.inner) parts *= 2;
  const int halved = halvings_of(parts), part = warp & (parts - 1), group = warp >> halved, together = warps >> halved;
  const bool even = p.inner % (4 * parts) == 0;  // the compiler then knows how much each part has
  const Size fours = (p.inner + 3) / 4, start = even ? part * (p.inner >> halved) : (fours * part >> halved) * 4;
  const Size uneven = part + 1 == parts ? p.inner : (fours * (part + 1) >> halved) * 4;
  const Size stop = even ? start + (p.inner >> halved) : uneven;
  const int far = (down == 1 ? 64 : 32) / sizeof(T);  // numbers of a column of B that are read before one is used
  for (Size done = 0; done < count; done += together) {  // as often in every warp, since add_parts waits for all
    const bool there = done + group < count;
    if (parts == 1 && !there) break;
    const Size tile = there ? done + group : count - 1;
    const Size top = tile / in_row * (high * down) + y;
    const Size left = tile % in_row * (wide * across) + (neighbours ? 4 * x : x);
    const T *a[down], *b[across];
    T sum[down][across];
    for (int k = 0; k < down; ++k) {  // past the end, the last row or column again: it is not written
      const Size i = top + k * high;
      a[k] = p.a + (whole || i < p.rows ? i : p.rows - 1) * p.a_row;
    }
    for (int l = 0; l < across; ++l) {
      const Size j = left + l * apart;
      b[l] = p.b + (whole || j < p.columns ? j : p.columns - 1) * p.b_step;
      for (int k = 0; k < down; ++k) sum[k][l] = 0;
    }
    auto add = [&](const T* of_a, const T* of_b) {
      for (int k = 0; k < down; ++k)
        for (int l = 0; l < across; ++l) sum[k][l] += of_a[k] * of_b[l];
    };
    auto add_one = [&](Size n) {
      T of_a[down], of_b[across];
      for (int k = 0; k < down; ++k) of_a[k] = a[k][n * p.a_step];
      for (int l = 0; l < across; ++l) of_b[l] = b[l][n * p.b_row];
      add(of_a, of_b);
    };
    const bool in_column = fours_in_column && down % 4 == 0 && (whole || top + down <= p.rows);
    auto four_of_a = [&](Size n, T(*of_a)[down]) {  // the numbers n ... n + 3 of each row, if they are below stop
      if (fours_in_row && n + 4 <= stop) {
        for (int k = 0; k < down; ++k) {
          const Four<T> next = *(const Four<T>*)(a[k] + n);
          for (int i = 0; i < 4; ++i) of_a[i][k] = next.number[i];
        }
        return;
      }
      for (int i = 0; i < 4 && n + i < stop; ++i)
        for (int k = 0; k < down; k += in_column ? 4 : 1)
          if (in_column) *(Four<T>*)(of_a[i] + k) = *(const Four<T>*)(a[k] + (n + i) * p.a_step);
          else of_a[i][k] = a[k][(n + i) * p.a_step];
    };
    Size n = there ? start : stop;
    if (neighbours) {  // B may be far away: many of its numbers are read before the first of them is used
      for (; n < stop; n += far) {
        Four<T> of_b[far];
#pragma unroll
        for (int m = 0; m < far; ++m) of_b[m] = *(const Four<T>*)(b[0] + (n + m < stop ? n + m : n) * p.b_row);
#pragma unroll
        for (int m = 0; m < far; m += 4) {
          T of_a[4][down];
          four_of_a(n + m, of_a);
          for (int i = 0; i < 4; ++i)
            if (n + m + i < stop) add(of_a[i], of_b[m + i].number);
        }
      }
    } else if (fours_in_row) {
#pragma unroll 2
      for (; n + 4 <= stop; n += 4) {
        T of_a[4][down], of_b[across];
        four_of_a(n, of_a);
        for (int i = 0; i < 4; ++i) {
          for (int l = 0; l < across; ++l) of_b[l] = b[l][(n + i) * p.b_row];
          add(of_a[i], of_b);
        }
      }
    } else if (in_column) {
#pragma unroll 4
      for (; n < stop; ++n) {
        T of_a[down], of_b[across];
        for (int k = 0; k < down; k += 4) *(Four<T>*)(of_a + k) = *(const Four<T>*)(a[k] + n * p.a_step);
        for (int l = 0; l < across; ++l) of_b[l] = b[l][n * p.b_row];
        add(of_a, of_b);
      }
    } else if (turns) {
      if (n < stop) n += (p.b_step == 1 ? y : lane) % (stop - start);
#pragma unroll 4
      for (Size turn = there ? start : stop; turn < stop; ++turn) {
        add_one(n);
        n = n + 1 == stop ? start : n + 1;
      }
    } else {
#pragma unroll 4
      for (; n < stop; ++n) add_one(n);
    }
    if (parts > 1) add_parts<down * across>(&sum[0][0], part, parts, team);
    for (int k = 0; k < down; ++k) {
      const Size i = top + k * high;
      if (!there || part || !(whole || i < p.rows)) continue;
      if (neighbours) write_four(p, i, left, sum[k]);
      for (int l = 0; l < across && !neighbours; ++l)
        if (const Size j = left + l * wide; whole || j < p.columns) p.write(i, j, sum[k][l]);
    }
  }
}

// For few numbers: several lanes of a warp add parts of each sum, and then the parts.
template <class T, class Then>
DEVICE void shared_sums(const Product<T, Then>& p, const Team& team) {
  const Size count = p.rows * p.columns;
  int lanes = 1;
  while (lanes < WARP && 2 * lanes * count <= team.threads && 2 * lanes <= p.inner) lanes *= 2;
  const int halvings = halvings_of(lanes);  // the compiler may not know the lanes, and divides slowly
  const int mine = team.thread & (lanes - 1), of_warp = WARP >> halvings;  // numbers
  for (Size number = team.thread >> halvings; (number & -of_warp) < count; number += team.threads >> halvings) {
    const Size of_c = number < count ? number : count - 1, i = of_c / p.columns, j = of_c % p.columns;
    const T *a = p.a + i * p.a_row, *b = p.b + j * p.b_step;
    const bool writes = number < count && mine == 0;
    const T before = p.s && writes ? p.s[i * p.s_row + j] : T(0);  // read now, since it may be far away
    T sum = 0;
#pragma unroll 8
    for (Size n = mine; n < p.inner; n += lanes) sum += a[n * p.a_step] * b[n * p.b_row];
    sum = warp_sum(sum, lanes);
    if (writes) p.c[i * p.c_row + j] = p.then(before + p.alpha * sum, i, j);
  }
}

// Which kind of tiles is made. Rows and columns of C that the source has as numbers are known before anything is
// compiled, others are 0: so a product of known size is compiled as one kind, not as all of them of which one is left.

template <int known_rows, int known_columns, class T, class Then>
DEVICE void in_shared_memory(const Product<T, Then>& p, const Team& team) {
  const Size rows = known_rows ? known_rows : p.rows, columns = known_columns ? known_columns : p.columns;
  const Size count = rows * columns;
  if (2 * count <= NNLITE_THREADS && (p.a_step == 1 || rows < WARP)) {  // not where lanes would read down a column
    shared_sums(p, team);
  } else if (count >= 2048 && rows >= 4) {  // at least a warp for each of the four parts of a processor
    tiles<4, 4>(p, team);
  } else if (count >= 1024 && rows >= 4) {
    tiles<4, 2>(p, team);
  } else if (count >= 512 && rows >= 2) {
    tiles<2, 2>(p, team);
  } else {
    tiles<1, 1>(p, team);
  }
}

template <int down, int known_columns, class T, class Then>
DEVICE void tiles_of(const Product<T, Then>& p, const Team& team) {
  const Size columns = known_columns ? known_columns : p.columns;
  if (down == 1 && p.b_step != 1 && columns <= NNLITE_THREADS) {  // a column for each thread
    tiles<1, 1>(p, team);
  } else if (p.b_step != 1 || (down == 1 && columns > 2 * WARP)) {
    tiles<down < 4 ? down : 4, 4>(p, team);
  } else if (columns > WARP) {
    tiles<down, 2>(p, team);
  } else {
    tiles<down, 1>(p, team);
  }
}

template <int known_rows, int known_columns, class T, class Then>
DEVICE void in_global_memory(const Product<T, Then>& p, const Team& team) {
  const Size rows = known_rows ? known_rows : p.rows, columns = known_columns ? known_columns : p.columns;
  if (columns < WARP && 2 * rows * columns <= NNLITE_THREADS && p.a_step == 1) {  // no lane reads down columns
    shared_sums(p, team);
  } else if (rows >= 4 && columns >= 4 * WARP && in_fours(p)) {
    tiles<4, 4>(p, team);
  } else if (rows >= 8) {
    tiles_of<8, known_columns>(p, team);
  } else if (rows >= 4) {
    tiles_of<4, known_columns>(p, team);
  } else if (rows >= 2) {
    tiles_of<2, known_columns>(p, team);
  } else {
    tiles_of<1, known_columns>(p, team);
  }
}

template <int rows, int columns, class T, class Then>
DEVICE void near_product(const Product<T, Then>& p, const Team& team) {
  __builtin_assume(!rows || (p.rows == rows && p.columns == columns));
  if (p.rows * p.columns == 0) return;
  if (NNLITE_BLOCKS == 1) {
    in_shared_memory<rows, columns>(p, team);
  } else {
    in_global_memory<rows, columns>(p, team);
  }
}

#else
// ---- by many blocks -------------------------------------------------------------------------------------------------

const int TILE = 64, DEPTH = 16, SIDE = 4;  // a block of 256 threads makes a tile, and each thread a square in it
const int LAUNCHED = 256;  // threads of a block

// add(n) for n = first, first + apart ... below stop. Within four of them the loop cannot end, so that the compiler can
// read all before it uses the first.
template <class Add>
DEVICE void by_fours(Size first, Size stop, Size apart, Add add) {
  Size n = first;
  for (; n + 3 * apart < stop; n += 4 * apart)
#pragma unroll
    for (int m = 0; m < 4; ++m) add(n + m * apart);
  for (; n < stop; n += apart) add(n);
}

// Of few columns, where the numbers of a row follow each other: a block makes SIDE rows. Lanes are columns; groups of
// lanes divide the inner numbers, and add their parts.
template <class T, class Then>
DEVICE void narrow_product(const Product<T, Then>& p, const Team& team) {
  SHARED(T, others, SIDE* LAUNCHED);
  const int lanes = lanes_for(p.columns), halvings = halvings_of(lanes), lane = team.thread & (lanes - 1);
  const int group = team.thread >> halvings, groups = team.threads >> halvings;
  const T* b = p.b + (lane < p.columns ? lane : p.columns - 1);
  const bool fours = in_fours(p.a, p.a_row);
  for (Size top = SIDE * team.block; top < p.rows; top += SIDE * team.blocks) {
    const T* a[SIDE];
    T sum[SIDE] = {};
    for (int k = 0; k < SIDE; ++k) a[k] = p.a + (top + k < p.rows ? top + k : p.rows - 1) * p.a_row;
    if (fours) {
      auto add = [&](Size n) {
        Four<T> next[SIDE];
        for (int k = 0; k < SIDE; ++k) next[k] = *(const Four<T>*)(a[k] + n);
        for (int m = 0; m < 4; ++m)
          for (int k = 0; k < SIDE; ++k) sum[k] += next[k].number[m] * b[(n + m) * p.b_row];
      };
      by_fours(4 * group, p.inner, 4 * groups, add);
    } else {
      auto add = [&](Size n) {
        for (int k = 0; k < SIDE; ++k) sum[k] += a[k][n] * b[n * p.b_row];
      };
      by_fours(group, p.inner, groups, add);
    }
    for (int k = 0; k < SIDE; ++k)
      for (int apart = lanes; apart < WARP; apart *= 2) sum[k] += __shfl_xor_sync(WHOLE_WARP, sum[k], apart);
    __syncthreads();  // until all threads have read the former contents of `others`
    for (int k = 0; k < SIDE; ++k) others[k * LAUNCHED + team.thread] = sum[k];
    __syncthreads();
    const int k = team.thread >> halvings;  // of the first SIDE groups, each adds the parts of a row
    if (k < SIDE && top + k < p.rows && lane < p.columns) {
      T total = 0;
      for (int from = lane; from < team.threads; from += WARP) total += others[k * LAUNCHED + from];
      p.write(top + k, lane, total);
    }
  }
}

// Of all other sizes: each block makes tiles of C, from parts of A and B that it copies into shared memory.
template <class T, class Then>
DEVICE void tiled_product(const Product<T, Then>& p, const Team& team) {
  SHARED(T, tile_a, DEPTH*(TILE + 1));
  SHARED(T, tile_b, DEPTH*(TILE + 1));
  const int side = TILE / SIDE, y = team.thread / side * SIDE, x = team.thread % side;
  const Size across = (p.columns + TILE - 1) / TILE, down = (p.rows + TILE - 1) / TILE;
  for (Size tile = team.block; tile < down * across; tile += team.blocks) {
    const Size top = tile / across * TILE, left = tile % across * TILE;
    T sum[SIDE][SIDE] = {};
    for (Size start = 0; start < p.inner; start += DEPTH) {
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
        const Size i = top + y + k, j = left + x + l * side;
        if (i < p.rows && j < p.columns) p.write(i, j, sum[k][l]);
      }
  }
}

template <class T, class Then>
APART void made_by_many(Product<T, Then> p, Team team) {  // no references, so that all of it may be in registers
  if (p.columns <= WARP && p.a_step == 1 && p.b_step == 1) narrow_product(p, team);
  else tiled_product(p, team);
}
#endif

template <int rows, int columns, class T, class Then>
DEVICE void make(const Product<T, Then>& p, const Team& team) {
#ifdef NNLITE_REPLAY
  near_product<rows, columns>(p, team);
#else
  made_by_many(p, team);
#endif
}

// ---- the kernels ----------------------------------------------------------------------------------------------------
// Each computes only first ... stop - 1, the line's last two numbers: columns of y, dx or db, or rows of dW.

namespace kernels {

template <int rows, int columns, class T, class Then>
DEVICE void linear_from(Matrix<T> y, Matrix<T> x, Matrix<T> W, const T* b, Then then, Line line, const Team& team) {
  const Size first = line.size(), stop = line.size();
  const Product<T, Then> p = {y.data + first, b ? b + first : b, x.data, W.data + first, y.rows, x.columns,
                              stop - first, y.columns, 0, x.columns, 1, W.columns, 1, T(1), x.columns % 4 == 0, then};
  make<rows, columns>(p, team);
}

template <class T, int rows = 0, int columns = 0, template <class> class Then = as_it_is>
DEVICE void linear(Line line, const Team& team) {
  Matrix<T> y = line.matrix<T>(), x = line.matrix<T>(), W = line.matrix<T>(), b = line.vector<T>();
  const Then<T> then(line);
  linear_from<rows, columns, T>(y, x, W, (const T*)b.data, then, line, team);
}

template <class T, int rows = 0, int columns = 0, template <class> class Then = as_it_is>
DEVICE void matmul(Line line, const Team& team) {
  Matrix<T> y = line.matrix<T>(), x = line.matrix<T>(), W = line.matrix<T>();
  const Then<T> then(line);
  linear_from<rows, columns, T>(y, x, W, (const T*)0, then, line, team);
}

// What follows a product of which this block makes the columns from `first` on.
template <class T, class Then>
struct From {
  Then then;
  Size first;

  DEVICE T operator()(T x, Size i, Size j) const { return then(x, i, first + j); }
};

template <class T, int rows = 0, int columns = 0, template <class> class Then = as_it_is>
DEVICE void linear_backward(Line line, const Team& team) {
  Matrix<T> dx = line.matrix<T>(), dy = line.matrix<T>(), W = line.matrix<T>();
  const Then<T> then(line);
  const Size first = line.size(), stop = line.size();
  const Product<T, From<T, Then<T>>> p = {dx.data + first, 0, dy.data, W.row(first), dx.rows, dy.columns, stop - first,
                                          dx.columns, 0, dy.columns, 1, 1, W.columns, T(1), false, {then, first}};
  make<rows, columns>(p, team);
}

// The rows first ... stop - 1 of C <- S + alpha x' dy; S is C if `adding`, or else nothing. Where x has fewer columns
// than C has rows, they are those that this block needs.
template <int rows, int columns, class T>
DEVICE void weights(Matrix<T> C, bool adding, Matrix<T> dy, Matrix<T> x, T alpha, Line line, const Team& team) {
  const Size first = line.size(), stop = line.size(), left = x.columns < C.rows ? 0 : first;
  const Product<T> p = {C.row(first), adding ? C.row(first) : 0, x.data + left, dy.data, stop - first, dy.rows,
                        C.columns, C.columns, C.columns, 1, x.columns, dy.columns, 1, alpha,
                        left % 4 == 0 && x.columns % 4 == 0, {}};
  make<rows, columns>(p, team);
}

template <class T, int rows = 0, int columns = 0> DEVICE void linear_backward_weights(Line line, const Team& team) {
  Matrix<T> dW = line.matrix<T>(), dy = line.matrix<T>(), x = line.matrix<T>();
  weights<rows, columns>(dW, false, dy, x, T(1), line, team);
}

template <class T, int rows = 0, int columns = 0> DEVICE void linear_backward_weights_sgd(Line line, const Team& team) {
  Matrix<T> W = line.matrix<T>(), dy = line.matrix<T>(), x = line.matrix<T>(), lr = line.vector<T>();
  weights<rows, columns>(W, true, dy, x, -lr.data[0], line, team);
}

// The columns first ... stop - 1 of b <- s + alpha (sum of the rows of dy); s is b if `adding`, or else nothing.
template <class T> DEVICE void add_rows(T* b, bool adding, Matrix<T> dy, T alpha, Line line, const Team& team) {
  const Size first = line.size(), stop = line.size();
  auto write = [=](Size j, T sum) { b[j] = (adding ? b[j] : T(0)) + alpha * sum; };
  column_sums<T>(dy.rows, first, stop, [=](Size i, Size j) { return dy.row(i)[j]; }, Nowhere(), write, team);
}

template <class T> DEVICE void linear_backward_bias(Line line, const Team& team) {
  Matrix<T> db = line.vector<T>(), dy = line.matrix<T>();
  add_rows(db.data, false, dy, T(1), line, team);
}

template <class T> DEVICE void linear_backward_bias_sgd(Line line, const Team& team) {
  Matrix<T> b = line.vector<T>(), dy = line.matrix<T>(), lr = line.vector<T>();
  add_rows(b.data, true, dy, -lr.data[0], line, team);
}

#ifdef NNLITE_REPLAY
// ---- a product in parts, for several blocks (parts.py) --------------------------------------------------------------

// y, parts <- the columns first ... stop - 1 of the next rows of x, and their product with these rows of W. y and W may
// have room for a block's columns or rows alone.
template <class T, int rows = 0, int columns = 0, class How = AtOnce>
DEVICE void take_and_multiply(Line line, const Team& team, How how = How()) {
  Matrix<T> y = line.matrix<T>(), parts = line.matrix<T>(), x = line.matrix<T>();
  const Line of_rows = line;
  line.vector<Word>(), line.vector<Word>();
  Matrix<T> W = line.matrix<T>();
  const Size count = line.size(), width = line.size();
  line.size();  // Q
  const Size first = line.size(), stop = line.size(), mine = stop - first;
  const Size left = y.columns < x.columns ? 0 : first, top = W.rows < x.columns ? 0 : first;
  how.take(y, left, x, first, mine, of_rows, team);
  __syncthreads();
  const bool fours = left % 4 == 0 && mine % 4 == 0 && y.columns % 4 == 0;
  const Product<T> p = {parts.data + first / width * W.columns, 0, y.data + left, W.row(top), count, mine, W.columns,
                        parts.columns, 0, y.columns, 1, W.columns, 1, T(1), fours, {}};
  make<rows, columns>(p, team);
}

const int AT_ONCE = 32;  // parts that a thread reads before it adds the first

// y <- the sum of the parts, and b if there is one. Threads divide the parts of each number if there are enough.
template <class T, class Then>
DEVICE void add_up(Matrix<T> y, Matrix<T> parts, const T* b, Then then, const Team& team) {
  const Size count = y.size(), parts_of_each = parts.columns / y.columns;
  int groups = 1;
  while (2 * groups * count <= team.threads && 2 * groups <= parts_of_each) groups *= 2;
  const Size together = team.threads / groups, group = team.thread / together;
  T* sums = (T*)scratch();
  for (Size i = team.thread % together; i < count; i += together) {
    const T* part = parts.row(i / y.columns) + i % y.columns;
    auto value = [=](Size k, Size) { return part[k * y.columns]; };
    const T sum = (T)sum_ahead<T, AT_ONCE>(group, parts_of_each, groups, 0, value, Nowhere());
    if (groups > 1) sums[group * together + i] = sum;
    else y.data[i] = then(sum + (b ? b[i % y.columns] : T(0)), i / y.columns, i % y.columns);
  }
  if (groups == 1) return;
  __syncthreads();
  if (team.thread < count) {
    T sum = b ? b[team.thread % y.columns] : T(0);
    for (int k = 0; k < groups; ++k) sum += sums[k * together + team.thread];
    y.data[team.thread] = then(sum, team.thread / y.columns, team.thread % y.columns);
  }
}

template <class T, template <class> class Then = as_it_is> DEVICE void sum_parts(Line line, const Team& team) {
  Matrix<T> y = line.matrix<T>(), parts = line.matrix<T>();
  add_up(y, parts, (const T*)0, Then<T>(line), team);
}

template <class T, template <class> class Then = as_it_is> DEVICE void sum_parts_and_bias(Line line, const Team& team) {
  Matrix<T> y = line.matrix<T>(), parts = line.matrix<T>();
  const T* b = line.vector<T>().data;
  add_up(y, parts, b, Then<T>(line), team);
}
#endif

}  // namespace kernels
