//! Computes and never stops.

hostile::guest!(|request, next| {
    let mut turns = 0u64;
    while std::hint::black_box(turns) != u64::MAX {
        turns += 1;
    }
    next.rerank(request).await
});
