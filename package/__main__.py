"""The component package: what programs in other languages get with `pulumi package add`."""

import sys
from pathlib import Path

from pulumi.provider import main

# The engine runs this file by its path, from wherever it has put the repository.
sys.path.insert(0, str(Path(__file__).parents[1]))

from package.provider import PackageProvider  # found by the line above

if __name__ == "__main__":
    main(PackageProvider(), sys.argv[1:])
