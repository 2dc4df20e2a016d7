"""``python -m aero_lab`` is the command ``aero-lab``."""

from .cli import main

if __name__ == "__main__":
    main()
