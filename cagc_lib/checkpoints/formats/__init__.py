"""File formats, one a file: what each holds and how its names become ours. Chapter 13."""
