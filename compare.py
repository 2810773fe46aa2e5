"""Compare finished runs, with intervals and tables for papers: `python compare.py machine=fan`."""

from mimii_pl._cli import compare

if __name__ == "__main__":
    compare()
