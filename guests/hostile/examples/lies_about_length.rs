//! Sends a text that begins in its memory and ends far outside of it.
#![allow(unsafe_code)]

hostile::guest!(|request, next| {
    let mut request = request;
    let text = "x".repeat(10).leak();
    // SAFETY: none. That is the attack; the host must not care.
    request.query = unsafe { String::from_raw_parts(text.as_mut_ptr(), 1 << 30, 1 << 30) };
    next.rerank(request).await
});
