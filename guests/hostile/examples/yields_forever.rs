//! Never stops either, but never runs for a whole tick: it gives way to the
//! host after every few steps.

hostile::guest!(|request, next| {
    let mut turns = 0u64;
    while std::hint::black_box(turns) != u64::MAX {
        turns += 1;
        wit_bindgen::yield_async().await;
    }
    next.rerank(request).await
});
