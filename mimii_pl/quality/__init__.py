"""Recordings checked before anything is learned from them: measures of each, findings, and what to do about them."""
