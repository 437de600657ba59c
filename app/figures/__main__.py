"""`python -m app.figures`: figures for papers, or one of them made again from its manifest."""

import sys

from app.figures import again

if __name__ == "__main__":
    sys.exit(again.run(sys.argv[1:]))
