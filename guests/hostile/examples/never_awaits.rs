//! Asks the next stage, does not wait for the answer and makes one up.

use std::pin::pin;
use std::task::{Context, Waker};

use hostile::maitred_sdk::{Ranked, Ranking, Scale};

hostile::guest!(|request, next| {
    let ranked = |index| Ranked { index, part: 0, score: 0.5 };
    let results = request.documents.iter().map(|d| ranked(d.index)).collect();
    {
        let mut call = pin!(next.rerank(request));
        let _ = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
    Ok(Ranking { results, scale: Scale::Probability })
});
