"""Makes everything that is the same in every trial (recordings, vocabulary, codes, the miniature), and caches it."""
