"""Drives a running maitred with LangChain's Cohere reranker and Voyage's SDK.

Usage: langchain_rerank.py BASE_URL MODEL. Prints [[index, score], …] by call as JSON.
"""

import asyncio
import json
import sys

import voyageai
from langchain_cohere import CohereRerank
from langchain_core.documents import Document
from pydantic import SecretStr

from corpus import DOCUMENTS, QUERY


def pairs(response):
    return [[result.index, result.relevance_score] for result in response.results]


async def voyage_async(base_url, model):
    client = voyageai.AsyncClient(api_key="none", base_url=base_url)
    return await client.rerank(QUERY, DOCUMENTS, model=model)


def main(base_url, model):
    answers = {}
    langchain = CohereRerank(
        cohere_api_key=SecretStr("none"), base_url=base_url, model=model, top_n=3
    )
    ranked = langchain.rerank(DOCUMENTS, QUERY)
    answers["langchain"] = [[one["index"], one["relevance_score"]] for one in ranked]
    documents = [Document(page_content=text, metadata={"at": at}) for at, text in enumerate(DOCUMENTS)]
    compressed = langchain.compress_documents(documents, QUERY)
    answers["langchain documents"] = [
        [one.metadata["at"], one.metadata["relevance_score"]] for one in compressed
    ]

    voyage_url = f"{base_url}/voyage/v1"
    voyage = voyageai.Client(api_key="none", base_url=voyage_url)
    response = voyage.rerank(QUERY, DOCUMENTS, model=model)
    assert response.total_tokens > 0, response
    for result in response.results:
        assert result.document == DOCUMENTS[result.index], result
    answers["voyage"] = pairs(response)
    answers["voyage top 2"] = pairs(voyage.rerank(QUERY, DOCUMENTS, model=model, top_k=2))
    answers["voyage async"] = pairs(asyncio.run(voyage_async(voyage_url, model)))
    # Without the prefix `top_k` tells the dialect.
    shared = voyageai.Client(api_key="none", base_url=f"{base_url}/v1")
    answers["voyage shared top 2"] = pairs(shared.rerank(QUERY, DOCUMENTS, model=model, top_k=2))
    try:
        voyage.rerank(QUERY, DOCUMENTS, model="no-such-model")
    except voyageai.error.VoyageError as error:
        assert "no-such-model" in str(error), error
    else:
        raise AssertionError("an unknown model was answered")
    print(json.dumps(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
