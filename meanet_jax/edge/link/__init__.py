"""From a device to the cloud tier: a connection, its requests, its retries."""
