//! Sends a query of five megabytes four times: no call alone is too much.

hostile::guest!(|request, next| {
    let mut request = request;
    request.query = "x".repeat(5 << 20);
    for _ in 0..3 {
        next.rerank(request.clone()).await?;
    }
    next.rerank(request).await
});
