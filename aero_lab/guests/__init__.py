"""Guests: the hosts whose frames the lab carries.

``scripted`` is a TCP/IP host in Python with the habits of a chosen operating system.
"""
