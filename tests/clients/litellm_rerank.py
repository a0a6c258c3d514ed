"""Drives a running maitred with LiteLLM's rerank, as each provider that people point
at a server of their own.

Usage: litellm_rerank.py BASE_URL MODEL. Prints [[index, score], …] by call as JSON.
"""

import asyncio
import json
import os
import sys

# Its table of prices would otherwise be fetched from elsewhere at import.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm

from corpus import DOCUMENTS, QUERY

PROVIDERS = ["cohere", "jina_ai", "infinity", "hosted_vllm", "huggingface"]


def pairs(response):
    return [[result["index"], result["relevance_score"]] for result in response.results]


def asked(provider, base_url, model):
    return dict(
        model=f"{provider}/{model}",
        query=QUERY,
        documents=DOCUMENTS,
        api_base=base_url,
        api_key="none",
    )


async def asynchronous(asked):
    return await litellm.arerank(**asked)


def main(base_url, model):
    answers = {}
    for provider in PROVIDERS:
        call = asked(provider, base_url, model)
        everything = litellm.rerank(**call, return_documents=True)
        answers[provider] = pairs(everything)
        answers[f"{provider} async"] = pairs(asyncio.run(asynchronous(call)))
        # It asks TEI for everything, as TEI knows no top_n.
        if provider != "huggingface":
            answers[f"{provider} top 2"] = pairs(litellm.rerank(**call, top_n=2))
    response = litellm.rerank(**asked("jina_ai", base_url, model), return_documents=True)
    for result in response.results:
        assert result["document"]["text"] == DOCUMENTS[result["index"]], result
    assert response.meta["tokens"]["total_tokens"] > 0, response.meta
    print(json.dumps(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
