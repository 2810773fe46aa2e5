"""Choose a finished run's thresholds anew: `python decide.py run=latest threshold=gamma threshold.quantile=0.99`."""

from mimii_pl._cli import decide

if __name__ == "__main__":
    decide()
