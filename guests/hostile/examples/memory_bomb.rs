//! Fills all the memory there is.

hostile::guest!(|request, next| {
    let mut hoard = Vec::new();
    for _ in 0..1_000_000 {
        hoard.push(vec![1u8; 1 << 20]);
        std::hint::black_box(&hoard);
    }
    next.rerank(request).await
});
