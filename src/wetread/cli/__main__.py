"""Run the command by `python -m wetread.cli`."""

from wetread.cli import main

main()
