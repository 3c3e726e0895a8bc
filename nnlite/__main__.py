"""`python -m nnlite` is `nnlite`."""

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())
