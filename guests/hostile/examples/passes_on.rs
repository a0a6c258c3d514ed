//! The control of all experiments: a guest that hands everything on.

hostile::guest!(|request, next| { next.rerank(request).await });
