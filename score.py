"""Score recordings with a finished run: `python score.py run=latest input=<wav or folder>`."""

from mimii_pl._cli import score

if __name__ == "__main__":
    score()
