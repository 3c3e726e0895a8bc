"""The numpy device: the reference itself, replayed by a loop in Python."""
