"""Make a finished run a version of a registered model: `python register.py run=latest name=fan`."""

from mimii_pl._cli import register

if __name__ == "__main__":
    register()
