//! Opens the same stream again and again and keeps every handle.

hostile::guest!(|request, next| {
    for _ in 0..1_000_000 {
        hostile::raw::open_stdout();
    }
    next.rerank(request).await
});
