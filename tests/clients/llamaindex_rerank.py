"""Drives a running maitred with LlamaIndex's postprocessors for TEI and Cohere, and
with the request that Open WebUI's external reranker sends.

Usage: llamaindex_rerank.py BASE_URL MODEL. Prints [[index, score], …] by call as JSON.
"""

import json
import sys

import httpx
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.postprocessor.cohere_rerank import CohereRerank
from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

from corpus import DOCUMENTS, QUERY


def ranked(postprocessor):
    nodes = [
        NodeWithScore(node=TextNode(id_=str(at), text=text), score=0.0)
        for at, text in enumerate(DOCUMENTS)
    ]
    found = postprocessor.postprocess_nodes(nodes, query_bundle=QueryBundle(QUERY))
    return [[int(node.node.node_id), node.score] for node in found]


def open_webui(base_url, model):
    """It sends these members and no others, and sorts by `index` itself."""
    body = {
        "model": model,
        "query": QUERY,
        "documents": DOCUMENTS,
        "top_n": len(DOCUMENTS),
    }
    headers = {"Authorization": "Bearer none", "Content-Type": "application/json"}
    response = httpx.post(f"{base_url}/v1/rerank", json=body, headers=headers)
    response.raise_for_status()
    results = sorted(response.json()["results"], key=lambda result: result["index"])
    assert [result["index"] for result in results] == list(range(len(DOCUMENTS))), results
    scores = [[result["index"], result["relevance_score"]] for result in results]
    return sorted(scores, key=lambda pair: -pair[1])


def main(base_url, model):
    cohere = dict(api_key="none", base_url=base_url, model=model)
    answers = {
        "tei": ranked(TextEmbeddingInference(base_url=base_url, top_n=3)),
        "cohere": ranked(CohereRerank(top_n=3, **cohere)),
        "cohere top 2": ranked(CohereRerank(top_n=2, **cohere)),
        "open webui": open_webui(base_url, model),
    }
    print(json.dumps(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
