// What on_cpu.h tells races.cpp of a launch. Without -DFIND_RACES nobody is told.
#pragma once

namespace races {

struct Piece { const char *first, *last; };  // of memory, up to but without `last`
enum Fault { NONE, RACE, OUTSIDE };
// The first fault that was found: by which thread, and which other was there before. Threads are numbered through the
// whole grid. here and before: the places in the library's code.
struct Found { Fault fault; int thread, other; const char *here, *before; };

#ifdef FIND_RACES
extern "C" {
void races_launch(int blocks, int threads, Piece card, const Piece* pieces, long count);  // the pieces in rising order
void races_shared(int block, const void* first, long bytes);  // a block has this shared memory
void races_turn(int block, int thread);                       // this thread goes on now
void races_rest();                                            // no thread does
void races_meet(int first, int stop);  // all these threads of the block have come to a barrier, and none has left it
void races_fence();                    // this thread orders what it did before and what it does later, for all
void races_add(const void* place, bool released);  // this thread adds to a number that others add to or wait for
void races_acquire(const void* place);             // this thread reads it, and orders what it does later
Found* races_found();
}
#else
inline void races_launch(int, int, Piece, const Piece*, long) {}
inline void races_shared(int, const void*, long) {}
inline void races_turn(int, int) {}
inline void races_rest() {}
inline void races_meet(int, int) {}
inline void races_fence() {}
inline void races_add(const void*, bool) {}
inline void races_acquire(const void*) {}
#endif

}  // namespace races
