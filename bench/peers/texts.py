"""Queries with twelve documents each, of which several are about the query: text to compare scores on.

Two sources, and nothing that has to be downloaded: the topics that the project's own corpus is made of,
and the documentation strings of Python's standard library, read from its source. The first line of a
string is the query, what follows it a document; others that share words with the query (BM25, Robertson
and Zaragoza, 2009) come beside it, as from a search engine. Another Python has other text: `digest` tells.

`alike` is text of the same kind, of which nothing is in the questions: documentation strings of packages that
the peers need.
"""

import ast
import collections
import hashlib
import json
import math
import pathlib
import re
import sysconfig

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOPICS = ROOT / "host/src/bench/corpus/topics.jsonl"
DOCUMENTS = 12
# Parts of the standard library that are not about what it does.
SKIPPED = {"test", "tests", "idlelib", "lib2to3", "site-packages", "__pycache__", "turtledemo", "pydoc_data", "ensurepip"}
PACKAGES = ("networkx", "numpy", "scipy", "sklearn", "sympy")
QUERY_WORDS = range(4, 17)
PASSAGE_WORDS = range(12, 121)


def questions(count):
    """`count` queries, each with its documents: those of the topics, and then of the library."""
    topics = [json.loads(line) for line in TOPICS.read_text(encoding="utf-8").splitlines()]
    about_topics = [
        (query, passage)
        for topic in topics
        for query in (topic["question"], topic["keywords"])
        for passage in topic["passages"][:1]
    ]
    passages = [passage for topic in topics for passage in topic["passages"]]
    asked = ranked(about_topics, passages)
    library = docstrings(pathlib.Path(sysconfig.get_path("stdlib")))
    every = max(1, len(library) // max(1, count - len(asked)))
    return (asked + ranked(library[::every], [passage for _, passage in library]))[:count]


def alike(asked, count):
    """`count` queries with the three passages that are nearest to each; none of them is among the asked."""
    packages = pathlib.Path(sysconfig.get_path("purelib"))
    known = {query for query, _ in asked} | {document for _, documents in asked for document in documents}
    found = [
        (query, passage)
        for package in PACKAGES
        for query, passage in docstrings(packages / package)
        if query not in known and passage not in known
    ]
    every = max(1, len(found) // count)
    chosen = ranked(found[::every][:count], [passage for _, passage in found])
    return [(query, documents[:3]) for query, documents in chosen]


def digest(asked):
    """Names the text."""
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:12]


def docstrings(folder):
    """Pairs of a first line and the rest, in the order of the folder's files; no query comes twice."""
    found = {}
    for file in sorted(folder.rglob("*.py")):
        if SKIPPED.intersection(file.relative_to(folder).parts):
            continue
        try:
            tree = ast.parse(file.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            first, _, rest = (ast.get_docstring(node) or "").partition("\n")
            passage = " ".join(rest.split()[: PASSAGE_WORDS.stop - 1])
            if len(first.split()) in QUERY_WORDS and len(passage.split()) in PASSAGE_WORDS:
                found.setdefault(first.strip().rstrip("."), passage)
    return list(found.items())


def ranked(pairs, passages):
    """Each query with the passage that belongs to it and the nearest others."""
    passages = list(dict.fromkeys(passages))
    words = [collections.Counter(tokens(passage)) for passage in passages]
    lengths = [sum(count.values()) for count in words]
    mean = sum(lengths) / len(lengths)
    places = collections.defaultdict(list)
    for place, counts in enumerate(words):
        for word in counts:
            places[word].append(place)
    asked = []
    for query, own in pairs:
        scores = collections.Counter()
        for word in set(tokens(query)):
            rarity = math.log(1 + (len(passages) - len(places[word]) + 0.5) / (len(places[word]) + 0.5))
            for place in places[word]:
                count = words[place][word]
                scores[place] += rarity * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * lengths[place] / mean))
        # Those that share nothing with it fill up what is left.
        order = sorted(range(len(passages)), key=lambda place: (-scores[place], place))
        nearest = [passages[place] for place in order if passages[place] != own]
        asked.append((query, [own] + nearest[: DOCUMENTS - 1]))
    return asked


def tokens(text):
    return re.findall(r"[a-z0-9]+", text.lower())


if __name__ == "__main__":
    asked = questions(552)
    print(f"{len(asked)} queries with {DOCUMENTS} documents, digest {digest(asked)}")
    for query, documents in asked[:: len(asked) // 12]:
        print(f"\n{query}\n  {documents[0][:100]}\n  {documents[1][:100]}")
