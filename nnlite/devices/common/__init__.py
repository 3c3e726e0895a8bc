"""What every device shares: kernels, their reference, the recording of a step, and its plan. NumPy only."""
