"""What guests with a shell have in common, whatever they run on: the lab's workloads as scripts for busybox.

``scripts`` is what is typed, ``workloads`` what comes of it.
"""
