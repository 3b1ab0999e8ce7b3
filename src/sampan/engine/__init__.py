"""Containers, images, volumes, exec and events as users know them: one service per noun."""
