"""Writers of DAW sessions. They read the graph and never see torch."""
