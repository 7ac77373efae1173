"""The cloud tier: a run's cloud model behind the Open Inference Protocol, over gRPC."""
