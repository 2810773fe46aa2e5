"""Fetch, verify and unpack a public data set: `python download.py dataset=dcase2020 machine=fan`."""

from mimii_pl._cli import download

if __name__ == "__main__":
    download()
