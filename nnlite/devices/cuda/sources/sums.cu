// Sums and maxima over a warp, and sums over a block or over rows. They are always made in the same order, so that the
// same numbers give the same bits.

const int MOST_THREADS = 1024;  // of a block
const int SCRATCH = 2048;       // numbers of a block's scratch, in float64
const int FEW = 64;             // the most rows that a thread sums alone, in their own type, if there is one block

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

// The sum of value(i) for i < count, for the last thread. Few numbers are added by the last warp alone, so that no
// other waits for it; the first ones often have more to do.
template <class Value> DEVICE double sum_of(Size count, Value value, const Team& team) {
  double sum = 0;
  if (count <= 4 * WARP) {
    if (team.thread < team.threads - WARP) return 0;
    for (Size i = team.lane(); i < count; i += WARP) sum += value(i);
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

// Whether this block is the last of `blocks` to come here. It then sees what the others' first warps have written. The
// last one brings the counter back to 0, for the next launch.
DEVICE bool comes_last(Bits* counter, Size blocks, const Team& team) {
  SHARED(int, last, 1);
  if (team.thread < WARP) {
    __syncwarp();
    if (team.thread == 0) {
      __threadfence();
      last[0] = atomicInc(counter, (Bits)blocks - 1) == blocks - 1;
      __threadfence();
    }
  }
  __syncthreads();
  return last[0];
}

// The sum of value(i, j) for i = start, start + apart ... below `rows`; each number goes to keep(i, j, number) as well.
// So many are read before the first is added: a loop that may end after each would wait for each. Their sum is of type
// T, and goes on in float64.
template <class T, int ahead = AHEAD, class Value, class Keep>
DEVICE double sum_ahead(Size start, Size rows, Size apart, Size j, Value value, Keep keep) {
  double sum = 0;
  for (Size i = start; i < rows; i += ahead * apart) {
    T some[ahead], total = 0;
#pragma unroll
    for (int k = 0; k < ahead; ++k) some[k] = value(i + k * apart < rows ? i + k * apart : i, j);
#pragma unroll
    for (int k = 0; k < ahead; ++k)
      if (i + k * apart < rows) keep(i + k * apart, j, some[k]), total += some[k];
    sum += total;
  }
  return sum;
}

// For the columns first ... stop - 1: write(column, sum of value(row, column) over the rows). Each number goes to
// keep(row, column, number) as well. A block sums some neighbouring columns: its lanes read a part of a row together.
// If there are more blocks than that takes, several divide the rows of the same columns; the one that comes last adds
// their sums, in the order of the blocks. One block that has few rows sums them all in type T. One of several that
// divide a step has few columns, and a warp for each: the last warps come first, since others often have more to do.
template <class T, class Value, class Keep, class Write>
DEVICE void column_sums(Size rows, Size first, Size stop, Value value, Keep keep, Write write, const Team& team) {
#ifdef NNLITE_REPLAY
  const int warps = team.threads / WARP;
  if (NNLITE_BLOCKS > 1 && stop - first <= warps) {
    const Size j = first + warps - 1 - team.thread / WARP;
    if (j >= stop) return;
    const double sum = warp_sum(sum_ahead<T>(team.lane(), rows, WARP, j, value, keep));
    if (team.lane() == 0) write(j, (T)sum);
    return;
  }
#endif
  if (team.blocks == 1 && rows <= FEW) {  // no thread waits for another
    for (Size j = first + team.threads - 1 - team.thread; j < stop; j += team.threads) {
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
    const Size start = j < stop ? turn % parts * at_once + mine : rows;
    double sum = sum_ahead<T>(start, rows, apart, j, value, keep);
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
