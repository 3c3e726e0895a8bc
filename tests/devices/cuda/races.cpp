// Finds races: two threads of a launch that use the same number, at least one of them to write it, where no barrier and
// no fence says who comes first. It finds them in whatever order the threads really run. What lies in the card's memory
// but in no array, or just behind a block's shared memory, is found as well.
//
// g++ -fsanitize=thread puts a call before everything that a kernel reads or writes; what it calls is here, not in its
// own library, which knows nothing of blocks and warps. Every thread counts the times at which it lets others know what
// it has done, and remembers the count of every other that it has heard of: vector clocks (Mattern 1989). Every number
// remembers who wrote it last, and who has read it since, one thread for as long as that says all (Flanagan and Freund
// 2009). What orders threads is in PTX's manual, "Memory Consistency Model": a barrier those that come to it; a fence
// and what a thread then adds to a number, those who read that number and then come to a fence; shuffles order nothing.
#include "races.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

namespace races {

typedef unsigned Time;
typedef std::vector<Time> Times;                      // of the threads of a block
typedef std::shared_ptr<const Times> Shot;            // times as they were once
typedef std::map<int, Shot> Known;                    // block -> times of its threads

struct Thread {
  Times own;      // what it knows of its block's threads, and its own time
  Known others;   // what it knows of other blocks' threads
  Known fenced;   // what it knew at its last fence
  Known seen;     // what the numbers that it read since would tell it, after a fence
};

struct Use { int thread = 0; Time time = 0; const char* code = nullptr; };

// Threads that have used a number since it was last written: one of them, or many.
struct Users {
  Use last;
  std::map<int, Times> many;  // block -> times of its threads, 0 for those that have not
  bool none() const { return last.time == 0; }
};

struct Cell {  // four bytes of memory
  Use written;
  Users readers, adders;  // adders: who added to it, or waited for it, as to a number that all add to
};

const int BYTES = 4, CELLS = 256, BEHIND = 16;  // of a cell; of a page; bytes behind shared memory that are nobody's
static int threads, block, me;
static bool running;  // a thread, and not what decides which
static Piece card;
static std::vector<Piece> pieces;
static std::vector<std::vector<Piece>> shared;  // of each block
static std::vector<Thread> all;                 // of the whole grid
static std::map<const void*, Known> told;       // what those who added to a number have told
static std::unordered_map<uint64_t, std::vector<Cell>> pages;
static Found found;

static void join(Times& into, const Times& from) {
  for (size_t i = 0; i < from.size(); ++i) into[i] = std::max(into[i], from[i]);
}
static void join(Known& into, const Known& from) {
  for (const auto& [number, times] : from) {
    Shot& known = into[number];
    if (!known) known = times;
    if (known == times) continue;
    Times both = *known;
    join(both, *times);
    known = std::make_shared<const Times>(both);
  }
}
static void learn(Thread& thread, const Known& news) {
  Known rest = news;
  if (const auto mine = rest.find(block); mine != rest.end()) join(thread.own, *mine->second), rest.erase(mine);
  join(thread.others, rest);
}
static Known all_it_knows(const Thread& thread) {
  Known known = thread.others;
  known[block] = std::make_shared<const Times>(thread.own);
  return known;
}
static int number_of(int thread) { return block * threads + thread; }
static Time& now() { return all[number_of(me)].own[me]; }

// Whether this thread has heard of what another did at a time.
static bool knows(int other, Time time) {
  const Thread& thread = all[number_of(me)];
  const int of = other / threads;
  if (of == block) return thread.own[other % threads] >= time;
  const auto known = thread.others.find(of);
  return known != thread.others.end() && (*known->second)[other % threads] >= time;
}
static void report(Fault fault, const Use& before, const char* code) {
  if (found.fault == NONE) found = {fault, number_of(me), before.thread, code, before.code};
}
static void comes_after(const Use& before, const char* code) {
  if (before.time > 0 && before.thread != number_of(me) && !knows(before.thread, before.time))
    report(RACE, before, code);
}
static void comes_after(const Users& users, const char* code) {
  comes_after(users.last, code);
  for (const auto& [number, times] : users.many)
    for (int t = 0; t < threads; ++t) comes_after(Use{number * threads + t, times[t], users.last.code}, code);
}
static void add(Users& users, const char* code) {
  const Use use = {number_of(me), now(), code};
  if (users.many.empty()) {
    if (users.none() || users.last.thread == use.thread || knows(users.last.thread, users.last.time)) {
      users.last = use;
      return;
    }
    Times& times = users.many[users.last.thread / threads];
    times.resize(threads), times[users.last.thread % threads] = users.last.time;
  }
  Times& times = users.many[block];
  times.resize(threads), times[me] = use.time, users.last = use;
}

enum Kind { READ, WRITE, ADD };

static bool inside(const std::vector<Piece>& some, const char* first, const char* last) {
  const auto behind = std::upper_bound(some.begin(), some.end(), first,
                                       [](const char* place, const Piece& piece) { return place < piece.first; });
  return behind != some.begin() && last <= std::prev(behind)->last;
}

static void use(const void* given, long bytes, Kind kind, const void* returns) {
  const char *place = (const char*)given, *code = (const char*)returns;
  if (!running || found.fault != NONE) return;
  const bool on_card = place >= card.first && place < card.last;
  if (!on_card) {
    const auto& mine = shared[block];
    const auto holds = [=](const Piece& piece) { return place >= piece.first && place < piece.last + BEHIND; };
    const auto piece = std::find_if(mine.begin(), mine.end(), holds);
    if (piece == mine.end()) return;  // on the thread's stack, or of the CPU
    if (place + bytes > piece->last) return report(OUTSIDE, {}, code);
  } else if (!inside(pieces, place, place + bytes)) {
    return report(OUTSIDE, {}, code);
  }
  const uint64_t first = (uint64_t)place / BYTES, last = ((uint64_t)place + bytes - 1) / BYTES;
  for (uint64_t number = first; number <= last; ++number) {
    auto& page = pages[number / CELLS | (on_card ? 0 : (uint64_t)(block + 1) << 48)];
    page.resize(CELLS);
    Cell& cell = page[number % CELLS];
    comes_after(cell.written, code);
    if (kind != ADD) comes_after(cell.adders, code);
    if (kind != READ) comes_after(cell.readers, code);
    if (kind == READ) add(cell.readers, code);
    if (kind == ADD) add(cell.adders, code);
    if (kind == WRITE) cell = Cell(), cell.written = {number_of(me), now(), code};
  }
}

extern "C" {

void races_launch(int blocks, int of_block, Piece of_card, const Piece* some, long count) {
  threads = of_block, card = of_card, found = Found();
  pieces.assign(some, some + count);
  shared.assign(blocks, {}), told.clear(), pages.clear();
  all.assign(blocks * threads, Thread());
  for (int i = 0; i < blocks * threads; ++i) all[i].own.assign(threads, 0), all[i].own[i % threads] = 1;
}
void races_shared(int of_block, const void* first, long bytes) {
  shared[of_block].push_back({(const char*)first, (const char*)first + bytes});
}
void races_turn(int of_block, int thread) { block = of_block, me = thread, running = true; }
void races_rest() { running = false; }

void races_meet(int first, int stop) {
  Thread* some = &all[number_of(0)];
  Times own = some[first].own;
  Known others = some[first].others;
  for (int t = first + 1; t < stop; ++t)
    join(own, some[t].own), join(others, some[t].others);
  for (int t = first; t < stop; ++t) some[t].own = own, some[t].others = others, ++some[t].own[t];
}
void races_fence() {
  Thread& thread = all[number_of(me)];
  learn(thread, thread.seen);
  thread.seen.clear(), thread.fenced = all_it_knows(thread), ++now();
}
void races_add(const void* place, bool released) {
  use(place, BYTES, ADD, __builtin_return_address(0));
  Thread& thread = all[number_of(me)];
  join(thread.seen, told[place]);
  join(told[place], released ? all_it_knows(thread) : thread.fenced);
  if (released) ++now();
}
void races_acquire(const void* place) {
  use(place, BYTES, ADD, __builtin_return_address(0));
  learn(all[number_of(me)], told[place]);
}
Found* races_found() { return &found; }

// ---- what g++ calls ---------------------------------------------------------------------------------------------

#define CALLED(name, bytes)                                                                            \
  void __tsan_read##name(void* place) { use(place, bytes, READ, __builtin_return_address(0)); }        \
  void __tsan_write##name(void* place) { use(place, bytes, WRITE, __builtin_return_address(0)); }      \
  void __tsan_unaligned_read##name(void* place) { use(place, bytes, READ, __builtin_return_address(0)); } \
  void __tsan_unaligned_write##name(void* place) { use(place, bytes, WRITE, __builtin_return_address(0)); }
CALLED(1, 1) CALLED(2, 2) CALLED(4, 4) CALLED(8, 8) CALLED(16, 16)
void __tsan_read_range(void* place, long bytes) { use(place, bytes, READ, __builtin_return_address(0)); }
void __tsan_write_range(void* place, long bytes) { use(place, bytes, WRITE, __builtin_return_address(0)); }
void __tsan_vptr_update(void*, void*) {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_init() {}
}

}  // namespace races
