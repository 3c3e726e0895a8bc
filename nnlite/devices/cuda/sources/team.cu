// The reference's kernels in CUDA, for a team of threads. A kernel reads its operands from a line of integers. It is
// the same function whether its team is a whole grid (one launch for each kernel) or one block of the persistent
// replay. No header is included: NVRTC, nvcc and, with a few macros, a C++ compiler all accept this text.
//
// It has chapters, which follow each other (CHAPTERS in machine.py). This first one has what all kernels work with: the
// team, the rows of a batch, matrices and lines.

typedef long long Word;
typedef unsigned int Bits;
#ifdef NNLITE_REPLAY
typedef int Size;  // of what a persistent replay works on, and places in it: 64 bits would take twice the instructions
#else
typedef Word Size;
#endif

#ifndef NNLITE_ON_CPU
#define DEVICE __device__ __forceinline__  // so that a function knows the sizes that its caller knows
#define APART __device__ __noinline__      // so that many kernels have one copy of it
#define SHARED(type, name, count) __shared__ type name[count]
#define DYNAMIC_SHARED(type, name) extern __shared__ __align__(16) type name[]
#define WAIT_A_MOMENT()
#define WHOLE_WARP 0xffffffffu
#define ADDRESS(type, word) ((type*)(word))

DEVICE void add_far(Word* place, Word value) {
  asm volatile("red.relaxed.gpu.global.add.u64 [%0], %1;" ::"l"(place), "l"(value) : "memory");
}
#endif

const int WARP = 32;
const int AHEAD = 4;            // numbers that a thread reads before it uses the first: memory answers late

// The threads that compute: this thread is one of `threads` in its block, which is one of `blocks`. In the persistent
// replay, every block has its own lines, so its team is one block. In a launch, each block has a counter, which is 0
// when the launch begins and when it ends, and room for sums (WARP,).
struct Team {
  int thread, threads, block, blocks;
  Bits* counters;
  volatile double* room;

  DEVICE Size rank() const { return (Size)block * threads + thread; }
  DEVICE Size size() const { return (Size)blocks * threads; }
  DEVICE int lane() const { return thread % WARP; }
};

// The number of a warp's lanes that share a row with so many columns: a power of two, 32 at most.
DEVICE int lanes_for(Size columns) {
  int lanes = 1;
  while (lanes < WARP && lanes < columns) lanes *= 2;
  return lanes;
}

DEVICE int halvings_of(int lanes) {
  int halvings = 0;
  while (lanes >> halvings > 1) ++halvings;
  return halvings;
}

// The rows of a batch on which a thread works; several lanes of a warp share a row. All lanes of a warp make equally
// many turns, some of them past the last row, so that they can exchange numbers.
struct Rows {
  int lanes, lane;
  Size row, apart, count;

  DEVICE Rows(const Team& team, Size rows, Size columns) : lanes(lanes_for(columns)), count(rows) {
    const int halvings = halvings_of(lanes);
    lane = team.thread & (lanes - 1), row = team.rank() >> halvings, apart = team.size() >> halvings;
  }
  // whether any lane of the warp has a row
  DEVICE bool some() const { return row - (row & (WARP / lanes - 1)) < count; }
  DEVICE bool there() const { return row < count; }
  DEVICE Size inside() const { return there() ? row : count - 1; }  // a row that is safe to read
  DEVICE void next() { row += apart; }
};

template <class T>
struct Matrix {
  T* data;
  Size rows, columns;

  template <class I> DEVICE T* row(I i) const { return data + i * columns; }  // 64 bits for a row of the data
  DEVICE Size size() const { return rows * columns; }
};

// Reads a line from left to right: results first, then operands written in place, then operands that are only read.
struct Line {
  const Word* next;

  template <class T> DEVICE Matrix<T> matrix() {
    Matrix<T> m = {ADDRESS(T, next[0]), (Size)next[1], (Size)next[2]};
    next += 3;
    return m;
  }
  template <class T> DEVICE Matrix<T> vector() {
    Matrix<T> v = {ADDRESS(T, next[0]), 1, (Size)next[1]};
    next += 2;
    return v;
  }
  DEVICE Word length() const { return next[1]; }  // of the vector that comes next, which may have 64 bits
  DEVICE Word size() { return *next++; }
  DEVICE double number() {
    double value = *(const double*)next;
    ++next;
    return value;
  }
};

#define NUMBER(name) const T name = (T)line.number()  // the next plain number of a line

#define FOR_EACH(i, n) for (Size i = team.rank(); i < (n); i += team.size())

// For each i below n: write(i, read(i)). It reads AHEAD values before it writes the first.
template <class Read, class Write> DEVICE void read_ahead(Size n, Read read, Write write, const Team& team) {
  const Size apart = team.size();
  for (Size i = team.rank(); i < n; i += AHEAD * apart) {
    decltype(read(i)) some[AHEAD];
#pragma unroll
    for (int k = 0; k < AHEAD; ++k)  // the compiler may know that no thread has so many
      if (k * apart < n) some[k] = read(i + k * apart < n ? i + k * apart : i);
#pragma unroll
    for (int k = 0; k < AHEAD; ++k)
      if (k * apart < n && i + k * apart < n) write(i + k * apart, some[k]);
  }
}
