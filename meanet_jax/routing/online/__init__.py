"""Thresholds that move while a device works, and agreement that is monitored."""
