"""`python -m freemcg`, and `accelerate launch -m freemcg` over several processes."""

import sys

from freemcg.commands.app import main

if __name__ == "__main__":
    sys.exit(main())
