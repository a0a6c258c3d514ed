//! Makes sets of things to wait for, and never drops one.

hostile::guest!(|request, next| {
    for _ in 0..1_000_000 {
        hostile::raw::new_waitable_set();
    }
    next.rerank(request).await
});
