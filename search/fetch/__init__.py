"""`study.py fetch-base`: a base from a model hub, every file checked."""
