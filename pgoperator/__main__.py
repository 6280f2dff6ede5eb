"""`python -m pgoperator`."""

import sys

from pgoperator.cli import main

sys.exit(main())
