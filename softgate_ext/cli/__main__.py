"""`python -m softgate_ext.cli`, as `torchrun` starts it."""

import sys

from softgate_ext.cli.run import main

sys.exit(main())
