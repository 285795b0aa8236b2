"""Which config wins: candidates in full runs with several seeds, what they prove, and what is exported."""
