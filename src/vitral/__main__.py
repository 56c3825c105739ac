"""`python -m vitral` is the same as `vitral`."""

import sys

from vitral.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
