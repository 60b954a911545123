"""JSFX twins of the processors, copied beside an exported REAPER project."""
