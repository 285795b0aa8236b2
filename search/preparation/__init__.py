"""All that is the same in every trial: tables, recordings, vocabulary, codes, the miniature, and their cache."""
