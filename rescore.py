"""Score a finished run's clips again with other back ends: `python rescore.py run=latest -m backend=lof,knn,gmm`."""

from mimii_pl._cli import rescore

if __name__ == "__main__":
    rescore()
