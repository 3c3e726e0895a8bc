"""The numba device: compiled loops, and a compiled loop over a table of them. Numba is imported only here."""
