//! Moves megabytes around with single instructions, which no tick interrupts.
#![allow(unsafe_code)]

hostile::guest!(|request, next| {
    let mut bytes = vec![1u8; 8 << 20];
    let half = bytes.len() / 2;
    while !std::hint::black_box(bytes.is_empty()) {
        let start = bytes.as_mut_ptr();
        // SAFETY: both halves are in the vector.
        unsafe { std::ptr::copy(start, start.add(half), half) };
    }
    next.rerank(request).await
});
