// CUDA sources as C++: every thread is a fiber, which runs until it waits for others. Put in front of the sources.
//
// Shared memory starts as NaN. Fibers take turns forward, backward, or at random, where every other warp or block goes
// on only when all others wait: what depends on the order is a race. races.cpp finds races that change no number, too.
// A thread that waits at a barrier that not all threads of its block or warp come to is found, and said. So is an
// operand that lies neither in the card's memory nor in the block's shared memory, and several numbers that are read or
// written at once where they do not begin at a multiple of their size. What the source promises the compiler must hold.
#pragma once
#include <cmath>
#include <csetjmp>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <ucontext.h>
#include <utility>
#include <vector>
#include <algorithm>
#include <functional>
#include "races.h"

#define NNLITE_ON_CPU
#define __builtin_assume(...) cpu::promised(__VA_ARGS__)
#define __isGlobal(place) (!(place) || cpu::on_card(place))  // null lies in no other memory, so a card says yes
#define __global__
#define DEVICE inline
#define APART inline
#define __launch_bounds__(...)
#define SHARED(type, name, count) \
  static char name##_place; \
  type* name = (type*)cpu::shared_memory(&name##_place, sizeof(type) * (count))
#define DYNAMIC_SHARED(type, name) type* name = (type*)cpu::blocks[cpu::fibers[cpu::now].block].dynamic
#define WAIT_A_MOMENT() cpu::step_aside()
#define ADDRESS(type, word) ((type*)cpu::checked((void*)(word)))
#define WHOLE_WARP 0xffffffffu

struct Place { unsigned x, y, z; };
static Place threadIdx, blockIdx, blockDim, gridDim;

namespace cpu {

enum State { RUNS, AT_BARRIER, AT_WARP, DONE };
enum Result { FINE = 0, LEFT_ALONE = 2, STUCK = 3, ILLEGAL_ADDRESS = 4, MISALIGNED_ADDRESS = 5, FALSE_PROMISE = 6 };
struct Fiber { int block, thread; State state; };
struct Stack { std::unique_ptr<char[]> memory; jmp_buf here; bool begun; };  // of the fiber with the same number
struct Block {
  std::map<void*, std::vector<char>> memory;
  char* dynamic;
  std::vector<char> room;
  int waiting, done;
  std::vector<int> warp_waiting, warp_done;
  std::vector<double> shuffled;
};

static std::vector<Fiber> fibers;
static std::vector<Block> blocks;
static std::vector<Stack> stacks;
static jmp_buf scheduler;
static int now, threads, first_block;
static Result result;
static std::function<void()> body;
static char *card_first, *card_last;  // the card's memory
static const races::Piece* pieces;    // those in use, for races.cpp
static long count_of_pieces;
// The steps of a replay, for a library with all kernels: a row for every line of each block.
struct Table { const long long* rows; int lines; };
static Table tables[2];  // of the full step and of the short one
const int ROW = 24;      // words: the number of a kernel, of a barrier or of nothing, its line, and of upcoming rows two
const long long OFFSET = 1LL << 61;  // added to an offset in shared memory
static int blocks_of_network, late, then;
static int left_out;  // the number of a barrier or fence in the source that is left out, or -1
const int BYTES_OF_STACK = 64 * 1024;

inline void place(const Fiber& f) {
  threadIdx = {(unsigned)f.thread, 0, 0}, blockIdx = {(unsigned)(first_block + f.block), 0, 0};
  races::races_turn(first_block + f.block, f.thread);
}
inline void give_way() {
  const int me = now;
  if (!_setjmp(stacks[me].here)) _longjmp(scheduler, 1);
  place(fibers[me]);
}
inline void step_aside() { give_way(); }
inline bool on_card(const void* place) { return place >= card_first && place < card_last; }
inline void promised(bool holds) {
  if (!holds) result = FALSE_PROMISE;
}
inline void* checked(void* place) {
  const std::vector<char>& shared = blocks[fibers[now].block].room;
  if (!on_card(place) && !(place >= shared.data() && place < shared.data() + shared.size())) result = ILLEGAL_ADDRESS;
  return place;
}
inline char* shared_memory(void* key, size_t bytes) {
  auto& memory = blocks[fibers[now].block].memory[key];
  const bool fresh = memory.empty();
  if (fresh) memory.assign(bytes + 32, (char)0xff);
  char* first = (char*)(((uintptr_t)memory.data() + 15) / 16 * 16);
  if (fresh) races::races_shared(blockIdx.x, first, bytes);
  return first;
}
inline void wake(int block, State from, int first, int stop) {
  for (int t = first; t < stop; ++t)
    if (Fiber& f = fibers[block * threads + t]; f.state == from) f.state = RUNS;
}
inline void wait(State where, bool orders) {
  Fiber& f = fibers[now];
  Block& b = blocks[f.block];
  const int warp = f.thread / 32, first = where == AT_WARP ? warp * 32 : 0;
  const int all = where == AT_WARP ? std::min(32, threads - first) : threads;
  int& waiting = where == AT_WARP ? b.warp_waiting[warp] : b.waiting;
  if (where == AT_WARP ? b.warp_done[warp] : b.done) result = LEFT_ALONE;
  f.state = where;
  if (++waiting == all) {
    waiting = 0, wake(f.block, where, first, first + all);
    if (orders) races::races_meet(first, first + all);
  }
  give_way();
}
inline void begin() {  // a stack is used again and again: a new context would cost system calls
  for (;;) {
    place(fibers[now]);
    body();
    Fiber& f = fibers[now];
    f.state = DONE;
    Block& b = blocks[f.block];
    ++b.done, ++b.warp_done[f.thread / 32];
    if (b.waiting || b.warp_waiting[f.thread / 32]) result = LEFT_ALONE;
    give_way();
  }
}
__attribute__((noinline)) inline void resume(int i) {
  if (_setjmp(scheduler)) return races::races_rest();
  now = i;
  Stack& stack = stacks[i];
  if (stack.begun) _longjmp(stack.here, 1);
  stack.begun = true;
  ucontext_t fresh;
  getcontext(&fresh);
  fresh.uc_stack.ss_sp = stack.memory.get(), fresh.uc_stack.ss_size = BYTES_OF_STACK, fresh.uc_link = nullptr;
  makecontext(&fresh, (void (*)())begin, 0);
  setcontext(&fresh);
}

// Blocks of `size` threads, `count` of them at once from number `first` on.
inline Result run(int first, int count, int size, long dynamic, int order) {
  threads = size, first_block = first, result = FINE;
  fibers.resize(count * size);
  blocks.assign(count, Block());
  while ((int)stacks.size() < count * size)
    stacks.push_back({std::unique_ptr<char[]>(new char[BYTES_OF_STACK]), {}, false});
  for (Block& b : blocks) {
    b.waiting = b.done = 0;
    b.warp_waiting.assign((size + 31) / 32, 0), b.warp_done = b.warp_waiting, b.shuffled.assign(size, 0);
    b.room.assign(dynamic + 64, (char)0xff);
    b.dynamic = (char*)(((uintptr_t)b.room.data() + 15) / 16 * 16);
    races::races_shared(first + (int)(&b - &blocks[0]), b.dynamic, dynamic);
  }
  std::vector<int> turns(fibers.size());
  for (int i = 0; i < (int)fibers.size(); ++i) {
    Fiber& f = fibers[i];
    f.block = i / size, f.thread = i % size, f.state = RUNS;
    turns[i] = order == 1 ? (int)fibers.size() - 1 - i : i;
  }
  if (order >= 2) std::shuffle(turns.begin(), turns.end(), std::mt19937(7));
  bool moved = true;
  for (int idle = 0; result == FINE;) {
    const bool all_wait = !moved;
    bool alive = false;
    moved = false;
    for (int i : turns) {
      alive |= fibers[i].state != DONE;
      const int odd = (order == 4 ? 0 : fibers[i].thread / 32) + fibers[i].block + order;
      const bool slow = order >= 2 && odd % 2 == 0 && !all_wait;
      if (fibers[i].state != RUNS || slow) continue;
      resume(i);
      moved |= fibers[i].state != RUNS;
    }
    if (!alive) break;
    idle = moved ? 0 : idle + 1;
    if (idle > 10000) result = STUCK;
  }
  for (int i = 0; i < (int)fibers.size(); ++i)  // what has not come to its end is never resumed
    if (fibers[i].state != DONE) stacks[i].begun = false;
  return result;
}

// CuPy's kernels take numbers of float32 that are less than 1.18e-38 as zeros, and make none. A CPU does the same while
// such a thing lives, but for float64, too.
struct Flushing {
#ifdef __SSE__
  unsigned before = __builtin_ia32_stmxcsr();
  Flushing() { __builtin_ia32_ldmxcsr(before | 0x8040); }
  ~Flushing() { __builtin_ia32_ldmxcsr(before); }
#endif
};

template <class T> T parameter(T* value) { return *value; }
template <class T> T* parameter(T** value) { return *value ? (T*)checked((void*)*value) : nullptr; }  // of nothing
template <class... A, size_t... I>
void call(void (*kernel)(A...), void** given, std::index_sequence<I...>) { kernel(parameter((A*)given[I])...); }

template <class... A> int parameters(void (*)(A...)) { return sizeof...(A); }

// As a launch: all blocks at once where they wait for each other (cooperative), else one after the other, or backward.
template <class... A>
int launch(void (*kernel)(A...), void** given, int grid, int block, long dynamic, int order, int cooperative) {
  const Flushing flushing;
  gridDim = {(unsigned)grid, 1, 1}, blockDim = {(unsigned)block, 1, 1};
  races::races_launch(grid, block, {card_first, card_last}, pieces, count_of_pieces);
  body = [=] { call(kernel, given, std::index_sequence_for<A...>()); };
  if (cooperative) return run(0, grid, block, dynamic, order);
  for (int b = 0; b < grid; ++b)
    if (Result r = run(order == 1 ? grid - 1 - b : b, 1, block, dynamic, order)) return r;
  return FINE;
}

}  // namespace cpu

// g++ -fsanitize=alignment calls it before something is used whose type does not allow its address. The thread then
// goes no further: some instructions of a CPU do not take such an address either.
extern "C" __attribute__((visibility("hidden"))) void __ubsan_handle_type_mismatch_v1(void*, void*) {
  cpu::result = cpu::MISALIGNED_ADDRESS;
  cpu::give_way();
}

extern "C" void set_up(char* first, char* last, const long long* full, int full_lines, const long long* short_,
                       int short_lines, int blocks_of_network, int late, int left_out, const races::Piece* pieces,
                       long count_of_pieces) {
  cpu::pieces = pieces, cpu::count_of_pieces = count_of_pieces;
  cpu::card_first = first, cpu::card_last = last, cpu::left_out = left_out;
  cpu::blocks_of_network = blocks_of_network, cpu::late = late;
  cpu::tables[0] = {full, full_lines}, cpu::tables[1] = {short_, short_lines};
}

inline void __syncthreads() { cpu::wait(cpu::AT_BARRIER, true); }
inline void __syncwarp() { cpu::wait(cpu::AT_WARP, true); }
inline void __threadfence() { races::races_fence(); }
inline void numbered(int number, void (*what)()) {
  if (number != cpu::left_out) what();
}
#define UNSEEN __attribute__((no_sanitize("thread")))  // by races.cpp, which is told of it here
UNSEEN inline unsigned atomicInc(unsigned* place, unsigned most) {
  races::races_add(place, false);
  const unsigned before = *place;
  *place = before >= most ? 0 : before + 1;
  return before;
}
inline void add_far(long long* place, long long value) { *place += value; }
UNSEEN inline void add_released(unsigned* place) {
  races::races_add(place, true);
  ++*place;
}
UNSEEN inline unsigned read_acquired(const unsigned* place) {
  races::races_acquire(place);
  return *(volatile const unsigned*)place;
}
template <class T> T __shfl_xor_sync(unsigned, T value, int apart) {
  cpu::Fiber& f = cpu::fibers[cpu::now];
  double* slots = cpu::blocks[f.block].shuffled.data();
  slots[f.thread] = value;
  cpu::wait(cpu::AT_WARP, false);
  const T found = (T)slots[f.thread ^ apart];
  cpu::wait(cpu::AT_WARP, false);
  return found;
}
