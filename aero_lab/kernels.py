"""Getting the compiled kernels ready, where somebody waits for it: with a progress bar and nothing else meanwhile."""

from __future__ import annotations

from .compiled import cache, registry


def warmup(progress: bool = True) -> int:
    """Compile every kernel of the package, or load it from the cache. Returns how many had to be got ready.

    With ``progress`` a bar is shown (in a notebook a widget) as soon as one of them takes noticeable time;
    a second call in the same process does nothing.
    """
    from tqdm.auto import tqdm

    total = len(registry.pending())
    if not total:
        return 0
    bar = tqdm(total=total, desc="kernels", unit="kernel", leave=False, delay=0.5, disable=not progress)
    with bar:
        for done, _, name in registry.warming():
            bar.n = done
            bar.set_postfix_str(name, refresh=True)
    return total


def cache_dir() -> str:
    """Where compiled kernels are kept."""
    return str(cache.cache_dir())
