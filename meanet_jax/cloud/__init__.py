"""The cloud tier: a run's cloud model behind the Open Inference Protocol, through KServe's SDK."""
