"""Everything on disk: content, snapshots, images, and the engine's database."""
