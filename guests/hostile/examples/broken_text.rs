//! Sends a text that is no UTF-8.
#![allow(unsafe_code)]

hostile::guest!(|request, next| {
    let mut request = request;
    // SAFETY: none. That is the attack; the host must not care.
    request.query = unsafe { String::from_utf8_unchecked(vec![0xff, 0xfe, 0xc0]) };
    next.rerank(request).await
});
