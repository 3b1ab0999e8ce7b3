"""Tar archives: layers applied and taken, trees packed and unpacked, compression. Imports no storage."""
