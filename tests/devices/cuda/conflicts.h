// Counts how often the memory that threads share is read and written. Put behind on_cpu.h, in front of the sources.
//
// Shared memory has 32 banks of four bytes. In one cycle, a warp gets at most one word of each bank; lanes that want
// the same word share it. A warp reads 8 or 16 bytes for each lane in two or four transactions, each for a part of its
// lanes. So an instruction takes one cycle for each transaction, and more where a transaction wants several words of
// one bank: a conflict.

namespace counted {

struct Access {
  int lane, bytes;
  uintptr_t place;
};

using Instruction = std::pair<void*, int>;  // its address in the machine code, and the number of times it has run
static std::vector<std::map<void*, int>> runs;                         // of each thread
static std::vector<std::map<Instruction, std::vector<Access>>> warps;  // what the lanes of each warp have accessed

// Notes an access, unless it is one to the thread's own variables. The lanes of a warp that come to the same place in
// the machine code for the same time are one instruction.
__attribute__((noinline)) void touch(const void* place, int bytes) {
  const char* own = cpu::stacks[cpu::now].memory.get();
  if (place >= own && place < own + cpu::BYTES_OF_STACK) return;
  const int thread = cpu::fibers[cpu::now].thread;
  void* here = __builtin_return_address(0);
  warps[thread / 32][{here, runs[thread][here]++}].push_back({thread % 32, bytes, (uintptr_t)place});
}

#define INLINE __attribute__((always_inline)) inline  // so that `touch` is called from the place that it is to note

// A number whose reading and writing is noted.
struct Number {
  float value;

  Number() = default;
  INLINE Number(double value) : value((float)value) {}
  INLINE Number(const Number& from) { *this = from; }
  INLINE Number& operator=(const Number& from) {
    touch(&from, 4), touch(this, 4);
    value = from.value;
    return *this;
  }
  INLINE operator double() const {
    touch(this, 4);
    return value;
  }
  INLINE Number operator-() const { return -(double)*this; }
  INLINE Number& operator+=(const Number& other) { return *this = (double)*this + (double)other; }
};

inline void start(int threads) {
  runs.assign(threads, {});
  warps.assign((threads + 31) / 32, {});
}

// Cycles and transactions since the start.
inline void stop(long* cycles, long* transactions) {
  *cycles = *transactions = 0;
  for (const auto& warp : warps)
    for (const auto& [instruction, accesses] : warp) {
      std::map<int, std::map<int, std::vector<uintptr_t>>> words;  // transaction -> bank -> different words
      for (const Access& each : accesses)
        for (uintptr_t word = each.place / 4; word < (each.place + each.bytes) / 4; ++word) {
          auto& of_bank = words[each.lane * each.bytes / 128][word % 32];
          if (std::find(of_bank.begin(), of_bank.end(), word) == of_bank.end()) of_bank.push_back(word);
        }
      for (const auto& [transaction, banks] : words) {
        size_t most = 0;
        for (const auto& [bank, different] : banks) most = std::max(most, different.size());
        *cycles += most, ++*transactions;
      }
    }
}

}  // namespace counted

template <class T> struct Four;
template <> struct alignas(16) Four<counted::Number> {  // which one instruction reads or writes
  counted::Number number[4];

  Four() = default;
  INLINE Four(const Four& from) { *this = from; }
  INLINE Four& operator=(const Four& from) {
    counted::touch(&from, 16), counted::touch(this, 16);
    for (int k = 0; k < 4; ++k) number[k].value = from.number[k].value;
    return *this;
  }
};
