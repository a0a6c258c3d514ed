//! Asks the next stage again and again.

hostile::guest!(|request, next| {
    for _ in 0..10_000 {
        next.rerank(request.clone()).await?;
    }
    next.rerank(request).await
});
