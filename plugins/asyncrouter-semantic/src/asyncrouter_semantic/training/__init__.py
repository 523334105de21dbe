"""Learning the head from outcomes; needs scipy (``pip install asyncrouter-semantic[train]``)."""
