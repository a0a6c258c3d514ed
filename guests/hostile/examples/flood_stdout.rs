//! Prints two megabytes, then works as it should.

hostile::guest!(|request, next| {
    let line = "x".repeat(1 << 10);
    for _ in 0..1000 {
        println!("{line}");
        eprintln!("{line}");
    }
    next.rerank(request).await
});
