"""A whole bench as data: what lets one in virtual time be copied, and written to a file.

The map: ``generators`` takes a suspended generator apart and makes another that goes on from the same place;
``arrays`` does it for memory that several hold; ``graph`` packs everything that hangs together and unpacks it as new
objects, from an allow-list; ``files`` is what a file of it looks like. Which objects make up a lab is told by
:mod:`aero_lab.forking`.
"""
