"""Drives a running maitred with Cohere's own Python SDK: v1, v2, sync and async.

Usage: cohere_sdk.py BASE_URL MODEL. Prints what it checked as JSON; any difference
from what the SDK's users rely on ends with an exception.
"""

import asyncio
import json
import sys

import cohere
from cohere.core.api_error import ApiError

from corpus import DOCUMENTS, QUERY


def check(response, count):
    """Results are sorted, name documents by their place, and lie in [0, 1]."""
    scores = [result.relevance_score for result in response.results]
    assert len(response.results) == count, response
    assert scores == sorted(scores, reverse=True), scores
    assert all(0.0 <= score <= 1.0 for score in scores), scores
    assert sorted({result.index for result in response.results}) == sorted(
        result.index for result in response.results
    ), response
    assert response.id, response
    assert response.meta.billed_units.search_units == 1, response.meta
    return [[result.index, result.relevance_score] for result in response.results]


async def asynchronous(base_url, model):
    async with cohere.AsyncClientV2(api_key="none", base_url=base_url) as client:
        return await client.rerank(model=model, query=QUERY, documents=DOCUMENTS)


def main(base_url, model):
    v2 = cohere.ClientV2(api_key="none", base_url=base_url)
    v1 = cohere.Client(api_key="none", base_url=base_url)
    answers = {
        "v2": check(v2.rerank(model=model, query=QUERY, documents=DOCUMENTS), 3),
        "v2_top_n": check(
            v2.rerank(model=model, query=QUERY, documents=DOCUMENTS, top_n=2), 2
        ),
        "v2_async": check(asyncio.run(asynchronous(base_url, model)), 3),
    }
    response = v1.rerank(
        model=model, query=QUERY, documents=DOCUMENTS, return_documents=True
    )
    answers["v1"] = check(response, 3)
    for result in response.results:
        assert result.document.text == DOCUMENTS[result.index], result
    response = v1.rerank(
        model=model,
        query=QUERY,
        documents=[{"title": "ignored", "text": text} for text in DOCUMENTS],
    )
    answers["v1_objects"] = check(response, 3)

    for label, wrong in {
        "unknown_model": dict(model="no-such-model", query=QUERY, documents=DOCUMENTS),
        "no_documents": dict(model=model, query=QUERY, documents=[]),
        "empty_query": dict(model=model, query=" ", documents=DOCUMENTS),
    }.items():
        try:
            v2.rerank(**wrong)
        except ApiError as error:
            answers[label] = [error.status_code, error.body["message"]]
        else:
            raise AssertionError(f"{label} was answered")
    print(json.dumps(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
