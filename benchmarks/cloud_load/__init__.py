"""The cloud tier under load, beside the bare model and beside gRPC without a model."""
