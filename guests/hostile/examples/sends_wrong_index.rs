//! Shows the next stage a document that is not of this request.

use hostile::maitred_sdk::Document;

hostile::guest!(|request, next| {
    let mut request = request;
    request.documents.push(Document::new(999, "smuggled"));
    next.rerank(request).await
});
