//! Asks the next stage as often as it may, all at once.

hostile::guest!(|request, next| { next.rerank_all(vec![request; 8]).await.swap_remove(0) });
