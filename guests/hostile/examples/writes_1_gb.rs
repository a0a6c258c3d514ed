//! Prints a gigabyte. The host's work on it is charged to the guest.

hostile::guest!(|request, next| {
    let line = "x".repeat((64 << 10) - 1);
    for _ in 0..(1 << 30) / (64 << 10) {
        println!("{line}");
    }
    next.rerank(request).await
});
