"""The papers' networks and layers."""
