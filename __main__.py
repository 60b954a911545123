"""Runs the commands as ``python -m mixbridge``; nothing else lives here."""

from .cli import main

if __name__ == "__main__":
    main()
