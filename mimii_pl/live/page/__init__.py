"""The page of a monitor: machines, events and health in a browser; in the same process, and without another host."""

from mimii_pl.live.page.server import check_page, serve_page

__all__ = ["check_page", "serve_page"]
