"""The commands of sampan-runtime: one module for those that share their means."""
