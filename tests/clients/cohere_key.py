"""Drives a maitred that asks for keys with Cohere's own Python SDK.

Usage: cohere_key.py BASE_URL KEY. The caller may ask for three documents at once and
three a second. Prints what it saw as JSON.
"""

import json
import sys

import cohere
from cohere.core.api_error import ApiError

DOCUMENTS = ["a green gate", "a red door", "a blue window"]


def ask(client, **options):
    return client.rerank(
        model="default", query="garden gate", documents=DOCUMENTS, **options
    )


def refusal(client):
    """Asks without the SDK's retries, which would wait until they pass."""
    try:
        ask(client, request_options={"max_retries": 0})
    except ApiError as error:
        return error
    raise AssertionError("it was answered")


def main(base_url, key):
    client = cohere.ClientV2(api_key=key, base_url=base_url)
    stranger = cohere.ClientV2(api_key="none", base_url=base_url)
    unknown = refusal(stranger)
    answers = {
        "unknown": [unknown.status_code, unknown.body["message"]],
        "known": len(ask(client).results),
    }
    limited = refusal(client)
    answers["limited"] = [limited.status_code, limited.headers["retry-after"]]
    # The SDK waits as long as it is told, once, and is served.
    again = ask(client, request_options={"max_retries": 1})
    answers["after_retry"] = len(again.results)
    print(json.dumps(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
