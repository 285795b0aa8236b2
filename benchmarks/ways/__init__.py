"""The two ways that `benchmarks.throughput` compares, in processes of their own, and what is measured of both."""
