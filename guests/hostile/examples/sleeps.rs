//! Sleeps for an hour, which costs no CPU time.

hostile::guest!(|request, next| {
    std::thread::sleep(std::time::Duration::from_secs(3600));
    next.rerank(request).await
});
