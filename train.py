"""Train a detector on normal sound and judge it per machine ID: `python train.py --help`."""

from mimii_pl._cli import train

if __name__ == "__main__":
    train()
