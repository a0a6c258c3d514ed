//! Recurses without an end.

fn down(depth: u64) -> u64 {
    match std::hint::black_box(depth) {
        u64::MAX => 0,
        depth => down(depth + 1) + std::hint::black_box(1),
    }
}

hostile::guest!(|request, next| {
    std::hint::black_box(down(0));
    next.rerank(request).await
});
