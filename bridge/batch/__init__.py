"""Many songs at once: what is to be done, who does it and what came of it; how one song is analysed lives elsewhere."""
