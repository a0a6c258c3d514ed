//! Sends one large text as a thousand documents, all of them the same bytes of
//! its memory: a little for the guest, a lot for a host that copies.
#![allow(unsafe_code)]

use hostile::maitred_sdk::Document;

hostile::guest!(|request, next| {
    let text = "x".repeat(1 << 20).leak();
    let mut request = request;
    request.documents = (0..1000)
        .map(|part| Document {
            index: 0,
            part,
            // SAFETY: none. That is the attack; the host must not care.
            text: unsafe { String::from_raw_parts(text.as_mut_ptr(), text.len(), text.len()) },
            fields: Vec::new(),
        })
        .collect();
    next.rerank(request).await
});
