//! Needs more memory before its first step than it may ever have.

static ROOM: [std::sync::atomic::AtomicU64; 8 << 20] =
    [const { std::sync::atomic::AtomicU64::new(0) }; 8 << 20];

hostile::guest!(|request, next| {
    ROOM[request.query.len()].store(1, std::sync::atomic::Ordering::Relaxed);
    std::hint::black_box(&ROOM);
    next.rerank(request).await
});
