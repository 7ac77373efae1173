"""The networks: Linen modules, built from a configuration by `zoo.build`."""
