"""Lets tests import the scripts of data/flowroll, which is a folder of data and no package."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "data" / "flowroll"))
