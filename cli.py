"""The commands: thin, no logic."""


def main() -> None:
    """Entry point."""
