"""The engine: audio in, graph, processors, console, search, rendering and metrics."""
