"""Put on PYTHONPATH of worker processes, so that the processes they start run ``sitecustomize`` too."""
