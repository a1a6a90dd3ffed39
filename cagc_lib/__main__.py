"""`python -m cagc_lib COMMAND`: see `cagc_lib.cli`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
