"""What every client asks, so that their answers can be compared."""

import json
import pathlib

_CORPUS = json.loads(pathlib.Path(__file__).with_name("corpus.json").read_text())
QUERY = _CORPUS["query"]
DOCUMENTS = _CORPUS["documents"]
