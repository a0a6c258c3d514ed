//! Asks the next stage as often as it may, forgets that it did, and makes an
//! answer up.

use std::mem::forget;
use std::task::{Context, Waker};

use hostile::maitred_sdk::{Ranked, Ranking, Scale};

hostile::guest!(|request, next| {
    let ranked = |index| Ranked { index, part: 0, score: 0.5 };
    let results = request.documents.iter().map(|d| ranked(d.index)).collect();
    for _ in 0..8 {
        let (next, request) = (next.clone(), request.clone());
        let mut call = Box::pin(async move { next.rerank(request).await });
        let _ = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        forget(call);
    }
    Ok(Ranking { results, scale: Scale::Probability })
});
