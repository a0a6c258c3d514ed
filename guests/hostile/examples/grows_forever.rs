//! Asks for one more page of memory, and does not take no for an answer.

hostile::guest!(|request, next| {
    while !std::hint::black_box(request.documents.is_empty()) {
        hostile::raw::grow_memory();
    }
    next.rerank(request).await
});
