// Dropout and noise. A hash of its place decides what happens to a number, so all devices do the same.

namespace kernels {

DEVICE Bits hash32(Bits x) {
  x = (x ^ (x >> 16)) * 0x21F0AAADu;
  x = (x ^ (x >> 15)) * 0xD35A2D97u;
  return x ^ (x >> 15);
}

template <class T> DEVICE void dropout(Line line, const Team& team) {
  Matrix<T> y = line.matrix<T>(), mask = line.matrix<T>(), x = line.matrix<T>();
  Matrix<Word> draws = line.vector<Word>();
  const Word key = line.size();
  const double rate = line.number();
  const Size first = line.size();
  const Bits seed = hash32(hash32((Bits)draws.data[0]) + (Bits)key) + (Bits)first * (Bits)x.columns;
  const Bits lowest = (Bits)(rate * 4294967296.0);
  const T kept = (T)(1 / (1 - rate));
  FOR_EACH(i, x.size()) {
    const T m = hash32(seed + (Bits)i) >= lowest ? kept : T(0);
    mask.data[i] = m;
    y.data[i] = x.data[i] * m;
  }
}

template <class T> DEVICE void gaussian_noise(Line line, const Team& team) {
  Matrix<T> y = line.matrix<T>(), x = line.matrix<T>();
  Matrix<Word> draws = line.vector<Word>();
  const Word key = line.size();
  const T scale = (T)(line.number() / 65536);
  const Size first = line.size();
  const Bits seed = hash32(hash32((Bits)draws.data[0]) + (Bits)key) + 6u * (Bits)first * (Bits)x.columns;
  FOR_EACH(i, x.size()) {
    Bits total = 0;  // of twelve numbers of 16 bits
    for (int k = 0; k < 6; ++k) {
      const Bits bits = hash32(seed + 6u * (Bits)i + (Bits)k);
      total += (bits >> 16) + (bits & 0xFFFFu);
    }
    y.data[i] = x.data[i] + ((T)total - T(6 * 65535)) * scale;
  }
}

}  // namespace kernels
