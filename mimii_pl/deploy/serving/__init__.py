"""`mimii serve`: a finished run, or an export, as an HTTP service that takes sound."""
