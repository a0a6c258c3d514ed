//! Leaves something behind for the next request.

use std::sync::atomic::{AtomicU32, Ordering};

use hostile::maitred_sdk::Error;

static CALLS: AtomicU32 = AtomicU32::new(0);

hostile::guest!(|request, next| {
    match CALLS.fetch_add(1, Ordering::Relaxed) {
        0 => next.rerank(request).await,
        earlier => Err(Error::Denied(format!("found {earlier} earlier calls"))),
    }
});
