"""See and hear the clips of a split: `python listen.py dataset=synthetic machine=fan split=test`."""

from mimii_pl._cli import listen

if __name__ == "__main__":
    listen()
