"""`python -m growi_transfer` is the command `growi-transfer`."""

import gc

# What is imported stays, so there is nothing to collect, and the collector would look at all of it several times.
gc.disable()

from growi_transfer.cli.main import main  # noqa: E402

if __name__ == "__main__":
    main()
