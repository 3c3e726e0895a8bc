// The persistent replay: one launch runs many steps. The step is part of this text: NNLITE_FULL, and NNLITE_SHORT for
// an epoch's last batch, list a tape's calls with all their sizes, so that the compiler knows them. A call is written
//     CALL(relu, float, AT(64), 32, 16, AT(2112), 32, 16)
// and its words are a line as in team.cu: AT is a place in shared memory, OF(segment, bytes) one in global memory,
// and mine[k] a number that is another in each block. NNLITE_SEGMENTS declares the segments in global memory, and the
// number of rows of those that are data.
//
// THEN(relu, ...) is a CALL(...) of a product, whose numbers relu gets before they are written. TAKE(0, 32, ...) is a
// CALL(...) that takes rows a step ahead, in steps of 32 rows; NNLITE_UPCOMING declares what each thread keeps of them.
// COPY publishes a block's part of a result. Where NNLITE_LATE, a full step does not end with a barrier: the next one
// LOOKs at its loss after its own first barrier, and CHECKs it before it changes anything that is kept.

#define LINE(...)                     \
  const Word words[] = {__VA_ARGS__}; \
  const Line line = {words};          \
  const Team now = {thread(), team.threads, 0, 1};
#define CALL(name, type, ...) \
  { LINE(__VA_ARGS__) kernels::name<type>(line, now); }
#define THEN(then, name, type, ...) \
  { LINE(__VA_ARGS__) kernels::name<type, kernels::then##_then>(line, now); }
#define TAKE(number, batch, name, type, ...) \
  { LINE(__VA_ARGS__) kernels::name<type>(line, now, kernels::ahead(next_##number, batch, step)); }
#define UPCOMING(number, Unit, count) \
  kernels::Upcoming<Unit, (count + NNLITE_THREADS - 1) / NNLITE_THREADS> next_##number;
#define PRODUCT(...) __VA_ARGS__  // for a type: the type, and the rows and columns that are made
#define AT(offset) ((Word)(memory + (offset)))
#define OF(segment, bytes) ((Word)(of_##segment + (bytes)))
#define PLACE(name)                  \
  char* of_##name = (char*)*given++; \
  __builtin_assume(__isGlobal(of_##name));
#define SEGMENT(name) PLACE(name) __builtin_assume((Word)of_##name % 16 == 0);
#define DATA(name) PLACE(name) Word rows_##name = *given++;  // may begin at any number
#define COPY(to, from, bytes) copy((void*)(to), (const void*)(from), bytes, {thread(), team.threads, 0, 1});
#define SYNC __syncthreads();             // wait for all threads of this block
#define BARRIER wait_for_all(gate, met);  // wait for all blocks
#define LOOK seen = *(volatile double*)sums;
#define CHECK if (!(seen - seen == 0)) { --step; break; }

// The number of this thread, read anew: else the compiler would keep what follows from it in too many registers, from
// one step to the next.
#ifdef NNLITE_ON_CPU
inline int thread() { return (int)threadIdx.x; }
#else
DEVICE int thread() {
  int number;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(number));
  __builtin_assume(number >= 0 && number < NNLITE_THREADS);  // so that it knows how often a loop runs
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
  met += NNLITE_BLOCKS;
  if (NNLITE_BLOCKS > 1) {
    if (threadIdx.x == 0) {  // what this block has written before is seen by all who have read this
      add_released(gate);
      while ((int)(read_acquired(gate) - met) < 0) WAIT_A_MOMENT();
    }
    __syncthreads();
  }
}

// ---- what a block keeps in its shared memory ------------------------------------------------------------------------

DEVICE void copy(void* to, const void* from, Word bytes, const Team& team) {
  for (Size i = team.thread; i < bytes / 4; i += team.threads) ((Bits*)to)[i] = ((const Bits*)from)[i];
}

struct Kept {  // a segment of the arena or rows in one: its address, its offset in shared memory, its size
  Word home, offset, bytes;
};

// ---- the steps ------------------------------------------------------------------------------------------------------

// Runs the steps first ... last - 1 of one network, or of many of one shape, each with NNLITE_BLOCKS blocks of its own.
// Every `per_epoch` steps are an epoch, whose last step may be the short one. arguments (networks, count): for each
// network what follows here. kept (blocks, segments), in the first `used` bytes. each (blocks, numbers): what is
// another in each block. sums (sums_count,) are at sums_at in shared memory, or in global memory if sums_at is negative.
// history (epochs, sums_count). stopped (1,) gets the number of the step before which the kernel stopped. gate (1,)
// must be zero.
extern "C" __global__ void __launch_bounds__(NNLITE_THREADS) replay(const Word* arguments, Word count) {
  DYNAMIC_SHARED(char, memory);
  const Team team = {(int)threadIdx.x, NNLITE_THREADS, 0, 1};
  const Word* given = arguments + blockIdx.x / NNLITE_BLOCKS * count;
  const int block = blockIdx.x % NNLITE_BLOCKS;
  const Kept* kept = (const Kept*)*given++;
  const Word segments = *given++, used = *given++;
  kept += block * segments;
  const Word* each = (const Word*)*given++;
  const Word numbers = *given++;
  const Word first = *given++, last = *given++, per_epoch = *given++;
  double* sums = ADDRESS(double, *given++);
  const Word sums_at = *given++, sums_count = *given++;
  double* history = ADDRESS(double, *given++);
  Word* stopped = ADDRESS(Word, *given++);
  Bits* gate = ADDRESS(Bits, *given++);
  NNLITE_SEGMENTS
  NNLITE_UPCOMING
  Bits met = 0;
  Word* mine = (Word*)(memory + used);
  for (Size i = team.thread; i < numbers; i += team.threads) mine[i] = each[block * numbers + i];
  for (Word i = 0; i < segments; ++i) copy(memory + kept[i].offset, ADDRESS(void, kept[i].home), kept[i].bytes, team);
  if (sums_at >= 0) sums = (double*)(memory + sums_at);
  __syncthreads();
  double seen = 0;
  Word step = first, left = per_epoch - first % per_epoch, epoch = first / per_epoch;
  for (; step < last; ++step) {
    const bool end_of_epoch = --left == 0;
    if (NNLITE_HAS_SHORT && end_of_epoch) {
      NNLITE_SHORT
    } else {
      NNLITE_FULL
    }
    if (NNLITE_LATE) {
      if (left > NNLITE_HAS_SHORT && step + 1 < last) continue;  // a full step comes next
      wait_for_all(gate, met);
    }
    const double loss = *(volatile double*)sums;
    if (!(loss - loss == 0)) break;
    if (end_of_epoch) {
      wait_for_all(gate, met);  // until all have read the loss. There is a barrier before the next addition to the sums
      if (block == 0)
        for (Word i = team.thread; i < sums_count; i += team.threads)
          history[epoch * sums_count + i] = sums[i], sums[i] = 0;
      ++epoch, left = per_epoch;
    }
  }
  __syncthreads();
  if (team.thread == 0 && block == 0) *stopped = step;
  for (Word i = 0; i < segments; ++i) copy(ADDRESS(void, kept[i].home), memory + kept[i].offset, kept[i].bytes, team);
}
