"""Workloads run over options, transports and links, and what they measured."""
