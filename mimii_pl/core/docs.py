"""Pages of the documentation that explain what a command prints: paths in the repository and on its site."""

RESULTS_GUIDE = "docs/results.md"
CLASSIFY_GUIDE = "docs/classify.md"
SEARCH_GUIDE = "docs/search.md"
