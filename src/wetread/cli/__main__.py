"""Run the command by `python -m wetread.cli`."""

from wetread.cli import main

if __name__ == "__main__":
    main()
