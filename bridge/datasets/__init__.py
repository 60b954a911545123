"""Published multitrack datasets as lists of songs: one module per layout; no song is analysed here."""
