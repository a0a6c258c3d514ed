//! Whatever ends it, be it its answer or a cancellation, it does not leave.

struct Stubborn;

impl Drop for Stubborn {
    fn drop(&mut self) {
        let mut turns = 0u64;
        while std::hint::black_box(turns) != u64::MAX {
            turns += 1;
        }
    }
}

hostile::guest!(|request, next| {
    let _stubborn = Stubborn;
    next.rerank(request).await
});
