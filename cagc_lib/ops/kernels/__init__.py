"""The operators' Triton twins, each in a file of its operator's name. Chapter 4."""
