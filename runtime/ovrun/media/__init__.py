"""From untrusted bytes to RGB pixels: everything that knows file formats."""
