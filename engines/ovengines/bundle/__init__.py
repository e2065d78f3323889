"""The bundle: the contract between exporter and runtime (manifest, hashes, reader and writer)."""
