import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # probing.py, which the tests of this room share
