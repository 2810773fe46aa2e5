"""Train a detector on normal sound and evaluate it per machine ID: `python train.py --help`."""

from mimii_pl.__main__ import train

if __name__ == "__main__":
    train()
