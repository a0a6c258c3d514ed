//! Shows the next stage a document twice.

hostile::guest!(|request, next| {
    let mut request = request;
    request.documents.push(request.documents[0].clone());
    next.rerank(request).await
});
