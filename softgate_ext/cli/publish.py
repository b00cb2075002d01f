"""`python -m softgate_ext.cli.publish RUN NAME --commit COMMIT`: ships a run in the package.

It is no command of `softgate`, since it writes into the source tree that a release is made of.
"""

import sys

from softgate_ext.cli.run import Commands, main
from softgate_ext.commands.publication_config import PublishConfig

PUBLISH: Commands = {"publish": (PublishConfig, "commands.publication:publish")}

if __name__ == "__main__":
    sys.exit(main(["publish", *sys.argv[1:]], PUBLISH))
