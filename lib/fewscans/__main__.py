"""Where `fewscans` and `python -m fewscans` begin: ready for Ctrl-C before anything slow is imported."""

from fewscans import guard


def main() -> None:
    """The command line; see `fewscans.cli`."""
    with guard.guarded():
        from fewscans import cli

        cli.app()


if __name__ == "__main__":
    main()
