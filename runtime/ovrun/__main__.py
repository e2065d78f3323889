"""Entry point of the command `ovrun`: Ctrl-C ends it quietly even while it is still importing."""

import sys

INTERRUPTED = 130  # ovengines.errors.ExitCode, which is not imported yet


def main() -> int:
    try:
        from ovrun.cli import main as run

        return run()
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
