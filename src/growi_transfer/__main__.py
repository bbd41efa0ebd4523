"""`python -m growi_transfer` is the command `growi-transfer`."""

from growi_transfer.cli.main import main

if __name__ == "__main__":
    main()
