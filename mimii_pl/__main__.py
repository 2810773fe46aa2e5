"""`python -m mimii_pl`: the same as `train.py`."""

from mimii_pl._cli import train

if __name__ == "__main__":
    train()
