//! Prints and never stops. The host's work on it is charged to the guest.

hostile::guest!(|request, next| {
    let line = "x".repeat(64 << 10);
    while !std::hint::black_box(line.is_empty()) {
        println!("{line}");
    }
    next.rerank(request).await
});
