"""One thin typed wrapper per kernel facility, by the kernel's own names."""
