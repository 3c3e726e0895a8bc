"""The cupy device: CUDA kernels on an NVIDIA GPU. CuPy is imported only here."""
