//! Whose client asks, and what that server means by what a request leaves out.

use crate::http::errors::Shape;

/// Whose client asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// Nobody's in particular: the paths that Cohere, Jina and vLLM share, where
    /// most clients come. Their bodies cannot be told apart, so the answer is
    /// the union of what they read. Documents go back only if asked for: no
    /// client we know (Cohere's SDK, LiteLLM, LangChain, LlamaIndex, Open WebUI)
    /// reads documents that it did not ask for, and a hundred texts that nobody
    /// reads cost more than the ranking. Who needs Jina's or vLLM's own default
    /// takes their prefix.
    Shared(Version),
    Cohere(Version),
    Jina,
    Vllm,
    Infinity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

/// What differs within the family.
pub struct Manners {
    /// Whether documents go back to a client that does not say.
    pub returns_documents: bool,
    /// Tokens of a document to a client that does not say.
    pub document_tokens_max: Option<u32>,
    /// Whether 0 results and 0 tokens mean that there is no limit.
    pub zero_is_all: bool,
    /// The range of `priority`; any if there is none.
    pub priority: Option<(i64, i64)>,
    pub parts: Parts,
}

/// The parts of an answer beside its results.
#[derive(Default)]
pub struct Parts {
    pub id: bool,
    pub object: Option<&'static str>,
    pub created: bool,
    /// The model, and with it what it read.
    pub model: bool,
    pub meta: Option<Version>,
    /// A document is its bare text instead of an object.
    pub bare_documents: bool,
}

/// Cohere's default in version 2.
const DOCUMENT_TOKENS_MAX: u32 = 4096;

/// The least urgent of Cohere's priorities.
const PRIORITY_MAX: i64 = 999;

impl Version {
    pub fn number(self) -> &'static str {
        match self {
            Version::V1 => "1",
            Version::V2 => "2",
        }
    }

    fn document_tokens_max(self) -> Option<u32> {
        match self {
            Version::V1 => None,
            Version::V2 => Some(DOCUMENT_TOKENS_MAX),
        }
    }
}

impl Flavour {
    /// Its name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Flavour::Shared(Version::V1) => "rerank-v1",
            Flavour::Shared(Version::V2) => "rerank-v2",
            Flavour::Cohere(Version::V1) => "cohere-v1",
            Flavour::Cohere(Version::V2) => "cohere-v2",
            Flavour::Jina => "jina",
            Flavour::Vllm => "vllm",
            Flavour::Infinity => "infinity",
        }
    }

    /// The shape of its errors. Jina's clients look for `detail` before they
    /// look at the status, Cohere's for `message`.
    pub fn errors(self) -> Shape {
        match self {
            Flavour::Shared(_) => Shape::MessageAndDetail,
            Flavour::Cohere(_) => Shape::Message,
            Flavour::Jina => Shape::Detail,
            Flavour::Vllm | Flavour::Infinity => Shape::Fault,
        }
    }

    pub fn manners(self) -> Manners {
        let plain = Manners {
            returns_documents: false,
            document_tokens_max: None,
            zero_is_all: false,
            priority: None,
            parts: Parts::default(),
        };
        match self {
            Flavour::Shared(version) => Manners {
                document_tokens_max: version.document_tokens_max(),
                parts: Parts {
                    id: true,
                    object: Some("list"),
                    model: true,
                    meta: Some(version),
                    ..Parts::default()
                },
                ..plain
            },
            Flavour::Cohere(version) => Manners {
                document_tokens_max: version.document_tokens_max(),
                priority: Some((0, PRIORITY_MAX)),
                parts: Parts { id: true, meta: Some(version), ..Parts::default() },
                ..plain
            },
            Flavour::Jina => Manners {
                returns_documents: true,
                parts: Parts { object: Some("list"), model: true, ..Parts::default() },
                ..plain
            },
            Flavour::Vllm => Manners {
                returns_documents: true,
                zero_is_all: true,
                parts: Parts { id: true, model: true, ..Parts::default() },
                ..plain
            },
            Flavour::Infinity => Manners {
                parts: Parts {
                    id: true,
                    object: Some("rerank"),
                    created: true,
                    model: true,
                    bare_documents: true,
                    ..Parts::default()
                },
                ..plain
            },
        }
    }
}
