import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # asked.py, which the tests of this room share
