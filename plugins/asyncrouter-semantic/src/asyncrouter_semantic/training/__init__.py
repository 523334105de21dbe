"""Learning the head from outcomes; needs scikit-learn (``pip install asyncrouter-semantic[train]``)."""
