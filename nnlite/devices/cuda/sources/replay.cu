// The persistent replay: one launch runs many steps. Every block reads its own table, in which each line is a kernel
// with its operands, or a barrier. The last line of a step is a barrier for all blocks.
// NNLITE_CASES lists the kernels that the tape needs, with one `case` for each.

const Word BARRIER = 0, SYNC = 1;  // wait for all blocks; wait for all threads of this block
const int LINE = 18;               // words: a kernel's number, up to 16 for its operands, and bits that mark offsets

// ---- a barrier for all blocks, which must all be running at the same time (a cooperative launch) --------------------

#ifndef NNLITE_ON_CPU
__device__ inline Bits read_acquired(const Bits* place) {
  Bits value;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(place) : "memory");
  return value;
}
#endif

__device__ inline void wait_for_all(Bits* gate, Bits& met) {
  __syncthreads();
  met += gridDim.x;
  if (gridDim.x > 1) {
    if (threadIdx.x == 0) {
      __threadfence();
      atomicAdd(gate, 1u);
      while ((int)(read_acquired(gate) - met) < 0) WAIT_A_MOMENT();
      __threadfence();
    }
    __syncthreads();
  }
}

__device__ inline void run_line(const Word* words, const Team& team) {
  const Line line = {words + 1};
  switch (words[0]) { NNLITE_CASES }
}

// ---- segments in shared memory, for a single block ------------------------------------------------------------------

__device__ inline void copy(void* to, const void* from, Word bytes, const Team& team) {
  for (Word i = team.thread; i < bytes / 4; i += team.threads) ((Bits*)to)[i] = ((const Bits*)from)[i];
}

struct Kept {  // a segment of the arena: its address in global memory, its offset in shared memory, its size
  Word home, offset, bytes;
};

// Copies a table into shared memory at `offset`. Offsets of operands in shared memory become addresses.
__device__ inline Word* take_table(char* memory, Word& offset, const Word* table, Word lines, const Team& team) {
  Word* taken = (Word*)(memory + offset);
  offset += lines * LINE * 8;
  for (Word i = team.thread; i < lines * LINE; i += team.threads) {
    const Word word = table[i], kept = table[i / LINE * LINE + LINE - 1];
    taken[i] = kept >> (i % LINE) & 1 && i % LINE < LINE - 1 ? (Word)(memory + word) : word;
  }
  return taken;
}

// ---- the steps ------------------------------------------------------------------------------------------------------

// Runs the steps first ... last - 1. Every `per_epoch` steps are an epoch; its last step uses the short table if that
// has lines. full (blocks, full_lines, LINE), short_ (blocks, short_lines, LINE), kept (segments,) of `used` bytes in
// all. sums (count,) are at sums_at in shared memory, or in global memory if sums_at is negative. history (epochs,
// count). stopped (1,) gets the number of the step before which the kernel stopped. gate (1,) must be zero.
extern "C" __global__ void __launch_bounds__(NNLITE_THREADS)
replay(const Word* full, Word full_lines, const Word* short_, Word short_lines, const Kept* kept, Word segments,
       Word used, Word first, Word last, Word per_epoch, double* sums, Word sums_at, Word count, double* history,
       Word* stopped, Bits* gate) {
  DYNAMIC_SHARED(char, memory);
  const Team team = {(int)threadIdx.x, (int)blockDim.x, 0, 1};
  Bits met = 0;
  Word offset = used;
  full = take_table(memory, offset, full + blockIdx.x * full_lines * LINE, full_lines, team);
  short_ = take_table(memory, offset, short_ + blockIdx.x * short_lines * LINE, short_lines, team);
  for (Word i = 0; i < segments; ++i) copy(memory + kept[i].offset, ADDRESS(void, kept[i].home), kept[i].bytes, team);
  if (sums_at >= 0) sums = (double*)(memory + sums_at);
  __syncthreads();
  Word step = first, left = per_epoch - first % per_epoch, epoch = first / per_epoch;
  for (; step < last; ++step) {
    const bool end_of_epoch = --left == 0;
    const bool by_short = end_of_epoch && short_lines > 0;
    const Word *line = by_short ? short_ : full, *end = line + (by_short ? short_lines : full_lines) * LINE;
    for (; line < end; line += LINE) {
      if (line[0] == BARRIER) {
        wait_for_all(gate, met);
      } else if (line[0] == SYNC) {
        __syncthreads();
      } else {
        run_line(line, team);
      }
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
