//! Asks the next stage ten thousand times without waiting for an answer.

hostile::guest!(|request, next| {
    let mut answers = next.rerank_all(vec![request; 10_000]).await;
    answers.swap_remove(0)
});
