//! Sends on half a million parts of one document, each without a word. They fit
//! into no memory that it may have, so they are no burden on the host.

use hostile::maitred_sdk::Document;

hostile::guest!(|request, next| {
    let part = |part| Document { part, ..Document::new(0, "") };
    let mut request = request;
    request.documents = (0..500_000).map(part).collect();
    next.rerank(request).await
});
