// The kernels to launch on a whole grid, from Python or as nodes of a CUDA graph, and the kernel that ends a step.
// NNLITE_LAUNCHES lists the kernels and their types: LAUNCH(relu, float) LAUNCH(tanh, float) ...

#define WORDS Word w0, Word w1, Word w2, Word w3, Word w4, Word w5, Word w6, Word w7, Word w8, Word w9, Word w10, \
              Word w11, Word w12, Word w13, Word w14, Word w15

#define LAUNCH(name, type)                                                                                  \
  extern "C" __global__ void __launch_bounds__(256) launch_##name##_##type(WORDS, Bits* counters, double* room) { \
    const Word words[] = {w0, w1, w2, w3, w4, w5, w6, w7, w8, w9, w10, w11, w12, w13, w14, w15};            \
    const Team team = {(int)threadIdx.x, (int)blockDim.x, (int)blockIdx.x, (int)gridDim.x, counters, room}; \
    const Line line = {words};                                                                              \
    kernels::name<type>(line, team);                                                                        \
  }

NNLITE_LAUNCHES

// Ends a step, as one block: adds its losses (rows,) to the first of the sums (count,) and moves the position on by so
// many rows. Counts the step if the sum is finite, and at the end of an epoch moves the sums to the next row of history
// (epochs, count). state (2,): the number of finite steps, the number of finished epochs.
extern "C" __global__ void __launch_bounds__(256)
end_step(const NNLITE_REAL* losses, Word rows, Word* position, Word moves, double* sums, Word count, double* history,
         Word* state, Word end_of_epoch) {
  const Team team = {(int)threadIdx.x, (int)blockDim.x, 0, 1};
  double loss = 0;
  for (Word i = team.thread; i < rows; i += team.threads) loss += losses[i];
  loss = block_sum(loss, team);
  if (team.thread > 0) return;
  if (moves > 0) *position += moves;
  sums[0] += loss;
  if (!(sums[0] - sums[0] == 0)) return;  // the sum stays not finite, so no later step is counted
  ++state[0];
  if (!end_of_epoch) return;
  for (Word i = 0; i < count; ++i) history[state[1] * count + i] = sums[i], sums[i] = 0;
  ++state[1];
}
