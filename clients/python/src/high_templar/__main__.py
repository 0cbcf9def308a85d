"""``python -m high_templar``: the gateway's command line."""

import sys

from high_templar.binary import execute

if __name__ == "__main__":
    execute(sys.argv[1:])
