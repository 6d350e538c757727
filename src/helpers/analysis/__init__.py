"""Analysis: from scores of items to estimates with intervals."""
