// The persistent replay: one launch runs many steps. The step is part of this text: NNLITE_FULL, and NNLITE_SHORT for
// an epoch's last batch, list a tape's calls with all their sizes, so that the compiler knows them. A call is written
//     CALL(relu, float, AT(64), 32, 16, AT(2112), 32, 16)
// and its words are a line as in kernels.cu: AT is a place in shared memory, OF(segment, bytes) one in global memory,
// and mine[k] a number that is another in each block. NNLITE_SEGMENTS are the parameters for the segments in global
// memory, and for the number of rows of those that are data.

#define CALL(name, type, ...)                        \
  {                                                  \
    const Word words[] = {__VA_ARGS__};              \
    const Line line = {words};                       \
    const Team now = {thread(), team.threads, 0, 1}; \
    kernels::name<type>(line, now);                  \
  }
#define AT(offset) ((Word)(memory + (offset)))
#define OF(segment, bytes) ((Word)(of_##segment + (bytes)))
#define SYNC __syncthreads();           // wait for all threads of this block
#define BARRIER wait_for_all(gate, met);  // wait for all blocks

// The number of this thread, read anew: else the compiler would keep what follows from it in too many registers, from
// one step to the next.
#ifdef NNLITE_ON_CPU
inline int thread() { return (int)threadIdx.x; }
#else
DEVICE int thread() {
  int number;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(number));
  return number;
}
#endif

// ---- a barrier for all blocks, which must all be running at the same time (a cooperative launch) --------------------

#ifndef NNLITE_ON_CPU
DEVICE Bits read_acquired(const Bits* place) {
  Bits value;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(place) : "memory");
  return value;
}
DEVICE void add_released(Bits* place) {
  asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(place) : "memory");
}
#endif

DEVICE void wait_for_all(Bits* gate, Bits& met) {
  __syncthreads();
  met += gridDim.x;
  if (gridDim.x > 1) {
    if (threadIdx.x == 0) {  // what this block has written before is seen by all who have read this
      add_released(gate);
      while ((int)(read_acquired(gate) - met) < 0) WAIT_A_MOMENT();
    }
    __syncthreads();
  }
}

// ---- segments in shared memory, for a single block ------------------------------------------------------------------

DEVICE void copy(void* to, const void* from, Word bytes, const Team& team) {
  for (Size i = team.thread; i < bytes / 4; i += team.threads) ((Bits*)to)[i] = ((const Bits*)from)[i];
}

struct Kept {  // a segment of the arena: its address in global memory, its offset in shared memory, its size
  Word home, offset, bytes;
};

// ---- the steps ------------------------------------------------------------------------------------------------------

// Runs the steps first ... last - 1. Every `per_epoch` steps are an epoch, whose last step may be the short one. kept
// (segments,) of `used` bytes in all. each (blocks, numbers): what is another in each block. sums (count,) are at
// sums_at in shared memory, or in global memory if sums_at is negative. history (epochs, count). stopped (1,) gets the
// number of the step before which the kernel stopped. gate (1,) must be zero.
extern "C" __global__ void __launch_bounds__(NNLITE_THREADS)
replay(const Kept* kept, Word segments, Word used, const Word* each, Word numbers, Word first, Word last,
       Word per_epoch, double* sums, Word sums_at, Word count, double* history, Word* stopped,
       Bits* gate NNLITE_SEGMENTS) {
  DYNAMIC_SHARED(char, memory);
  const Team team = {(int)threadIdx.x, NNLITE_THREADS, 0, 1};
  Bits met = 0;
  Word* mine = (Word*)(memory + used);
  for (Size i = team.thread; i < numbers; i += team.threads) mine[i] = each[blockIdx.x * numbers + i];
  for (Word i = 0; i < segments; ++i) copy(memory + kept[i].offset, ADDRESS(void, kept[i].home), kept[i].bytes, team);
  if (sums_at >= 0) sums = (double*)(memory + sums_at);
  __syncthreads();
  Word step = first, left = per_epoch - first % per_epoch, epoch = first / per_epoch;
  for (; step < last; ++step) {
    const bool end_of_epoch = --left == 0;
    if (NNLITE_HAS_SHORT && end_of_epoch) {
      NNLITE_SHORT
    } else {
      NNLITE_FULL
    }
    const double loss = *(volatile double*)sums;
    if (!(loss - loss == 0)) break;
    if (end_of_epoch) {
      wait_for_all(gate, met);  // until all have read the loss. There is a barrier before the next addition to the sums
      if (blockIdx.x == 0)
        for (Word i = team.thread; i < count; i += team.threads) history[epoch * count + i] = sums[i], sums[i] = 0;
      ++epoch, left = per_epoch;
    }
  }
  __syncthreads();
  if (team.thread == 0 && blockIdx.x == 0) *stopped = step;
  for (Word i = 0; i < segments; ++i) copy(ADDRESS(void, kept[i].home), memory + kept[i].offset, kept[i].bytes, team);
}
